//! A delaying proxy in front of a peer port. The delay changes from moment to moment and differs between connections, so data sent
//! over several connections arrives in another order; within one connection TCP keeps the order.

use std::io::{BufRead as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{Error, Result};
use crate::random::Random;
use crate::sandbox::Sandbox;

/// The arguments of the proxy process.
#[derive(Args, Debug, Clone)]
pub struct ProxyArgs {
    /// host:port to listen on.
    #[arg(long)]
    listen: String,
    /// host:port to forward to.
    #[arg(long)]
    to: String,
}

/// A running proxy of a node.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
}

impl Proxy {
    /// Starts a proxy inside a namespace.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(namespace: &str, listen: &str, to: &str) -> Result<Self> {
        let exe = std::env::current_exe().map_err(Error::io("the harness's own path"))?;
        let child = Sandbox::inside(namespace, &exe.display().to_string())
            .args(["proxy", "--listen", listen, "--to", to])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting a proxy"))?;
        Ok(Self { child })
    }

    /// Sets the maximum delay, in milliseconds.
    ///
    /// # Errors
    /// When the proxy has ended.
    pub fn delay(&mut self, ms: u64) -> Result<()> {
        let Some(input) = &mut self.child.stdin else { return Ok(()) };
        writeln!(input, "{ms}").and_then(|()| input.flush()).map_err(Error::io("telling a proxy"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It also ends when its input closes, so a failure does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the proxy process. It reads delays from its standard input, and ends when the input ends.
///
/// # Errors
/// When it cannot listen.
pub fn serve(args: &ProxyArgs) -> Result<bool> {
    let delay_ms = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&delay_ms);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.map(|line| line.trim().parse()) {
                Ok(Ok(ms)) => told.store(ms, Ordering::Relaxed),
                _ => break,
            }
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    runtime.block_on(accept(args, delay_ms)).map_err(Error::io(format!("the proxy at {}", args.listen)))?;
    Ok(true)
}

async fn accept(args: &ProxyArgs, delay_ms: Arc<AtomicU64>) -> std::io::Result<()> {
    let listener = TcpListener::bind(&args.listen).await?;
    for number in 0.. {
        let (incoming, _) = listener.accept().await?;
        let (to, delay_ms) = (args.to.clone(), Arc::clone(&delay_ms));
        tokio::spawn(async move {
            // The node does not listen: the connection ends, as it would without a proxy.
            let Ok(outgoing) = TcpStream::connect(&to).await else { return };
            // Nagle's algorithm would add delays of its own to small messages.
            let _ = incoming.set_nodelay(true);
            let _ = outgoing.set_nodelay(true);
            let (from_peer, to_peer) = incoming.into_split();
            let (from_node, to_node) = outgoing.into_split();
            tokio::join!(
                pass(from_peer, to_node, Arc::clone(&delay_ms), number * 2),
                pass(from_node, to_peer, delay_ms, number * 2 + 1),
            );
        });
    }
    Ok(())
}

/// Forwards data until one side ends, then closes the other side.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay_ms: Arc<AtomicU64>,
    number: u64,
) {
    let mut random = Random::new(number, 0);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(1..) = async {
        let count = from.read(&mut buffer).await?;
        let ms = delay_ms.load(Ordering::Relaxed);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(random.between(0, ms))).await;
        }
        to.write_all(&buffer[..count]).await?;
        std::io::Result::Ok(count)
    }
    .await
    {}
    // The other side may have closed already.
    let _ = to.shutdown().await;
}
