//! One session with a ZooKeeper server, over its own protocol (`zookeeper.jute` in its source): requests are
//! numbered, sent one after the other, and answered in that order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::error::{Error, Result};

/// The largest accepted answer, bytes.
const FRAME_MAX: usize = 16 << 20;
/// The numbers of unsolicited answers.
const EVENT: i32 = -1;
const PING: i32 = -2;
/// The code of an answer about a node that does not exist.
pub(super) const NO_NODE: i32 = -101;
/// The code of an answer about a node that exists already.
pub(super) const NODE_EXISTS: i32 = -110;

/// The kind of a request.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Kind {
    Create = 1,
    Delete = 2,
    GetData = 4,
    SetData = 5,
    GetChildren = 8,
    Sync = 9,
    Ping = 11,
    AddWatch = 106,
}

/// The body of a request.
#[derive(Default)]
pub(super) struct Body(BytesMut);

impl Body {
    /// A body that begins with a path.
    pub(super) fn of(path: &str) -> Self {
        Self::default().data(path.as_bytes())
    }

    /// Appends bytes or text.
    pub(super) fn data(mut self, data: &[u8]) -> Self {
        self.0.put_i32(i32::try_from(data.len()).unwrap_or(i32::MAX));
        self.0.put_slice(data);
        self
    }

    /// Appends a number.
    pub(super) fn number(mut self, number: i32) -> Self {
        self.0.put_i32(number);
        self
    }

    /// Appends a boolean.
    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.0.put_u8(flag.into());
        self
    }
}

/// The body of an answer.
pub(super) struct Answer(Bytes);

impl Answer {
    /// Reads the next number.
    pub(super) fn number(&mut self) -> Result<i32> {
        self.0.try_get_i32().map_err(|_| short())
    }

    /// Reads the next text.
    pub(super) fn text(&mut self) -> Result<String> {
        // A length of -1 means that the text is absent.
        let length = usize::try_from(self.number()?).unwrap_or(0);
        if length > self.0.len() {
            return Err(short());
        }
        String::from_utf8(self.0.split_to(length).into())
            .map_err(|_| Error::other("a text that is not UTF-8"))
    }

    /// Reads the next list of texts.
    pub(super) fn texts(&mut self) -> Result<Vec<String>> {
        (0..self.number()?).map(|_| self.text()).collect()
    }
}

fn short() -> Error {
    Error::other("an answer of ZooKeeper that is too short")
}

fn ended() -> Error {
    Error::other("ZooKeeper ended the connection")
}

/// An answer: its code, 0 for success, and its body.
type Reply = (i32, Answer);

/// The answer to a request in flight.
pub(super) struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    /// The body, or the code if it is one of `refusals`.
    pub(super) async fn answer_or(self, refusals: &[i32]) -> Result<Result<Answer, i32>> {
        match self.0.await.map_err(|_| ended())? {
            (0, answer) => Ok(Ok(answer)),
            (code, _) if refusals.contains(&code) => Ok(Err(code)),
            (code, _) => Err(Error::other(format!("ZooKeeper refused with {code}"))),
        }
    }

    /// The body; any refusal is an error.
    pub(super) async fn answer(self) -> Result<Answer> {
        self.answer_or(&[]).await?.map_err(|code| Error::other(format!("ZooKeeper refused with {code}")))
    }
}

/// Outgoing requests, and the receivers of their answers, in the same order.
struct Outgoing {
    next: i32,
    frames: mpsc::UnboundedSender<Bytes>,
    waiting: mpsc::UnboundedSender<(i32, oneshot::Sender<Reply>)>,
}

/// The receivers of change notifications.
#[derive(Default)]
struct Watches {
    /// Notified once, when the node at the path changes.
    once: HashMap<String, Vec<oneshot::Sender<()>>>,
    /// Receives every path at which a node was created, below the permanently watched ones.
    made: Option<mpsc::UnboundedSender<String>>,
}

/// A session. Dropping it closes its connection.
pub(super) struct Session {
    outgoing: Mutex<Outgoing>,
    watches: Arc<Mutex<Watches>>,
    _tasks: JoinSet<()>,
}

impl Session {
    /// Opens a session that the server ends after hearing nothing for this long; the session is kept alive.
    pub(super) async fn open(port: u16, timeout: Duration) -> Result<Self> {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).await.map_err(Error::io("connect to ZooKeeper"))?;
        stream.set_nodelay(true).map_err(Error::io("TCP_NODELAY"))?;
        let (mut reader, mut writer) = stream.into_split();
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut hello = BytesMut::new();
        // Protocol version, last change seen, time to live, session id (0 = new), its password, read-only
        // server not allowed.
        hello.put_i32(0);
        hello.put_i64(0);
        hello.put_i32(timeout_ms);
        hello.put_i64(0);
        hello.put_i32(16);
        hello.put_bytes(0, 16);
        hello.put_u8(0);
        writer.write_all(&framed(&hello)).await.map_err(Error::io("greet ZooKeeper"))?;
        let mut welcome = Answer(frame(&mut reader).await?);
        welcome.number()?;
        let granted_ms = u64::try_from(welcome.number()?).unwrap_or(0);
        if granted_ms == 0 {
            return Err(Error::other("ZooKeeper opened no session"));
        }
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (waiting, expected) = mpsc::unbounded_channel();
        let watches = Arc::<Mutex<Watches>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(write(writer, outgoing));
        tasks.spawn(read(reader, expected, Arc::clone(&watches)));
        tasks.spawn(ping(frames.clone(), Duration::from_millis(granted_ms / 3)));
        let outgoing = Mutex::new(Outgoing { next: 1, frames, waiting });
        Ok(Self { outgoing, watches, _tasks: tasks })
    }

    /// Whether nothing is answered any more.
    pub(super) fn has_ended(&self) -> bool {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_closed()
    }

    /// Sends a request after those sent before.
    pub(super) fn send(&self, kind: Kind, body: &Body) -> Pending {
        let (tell, answer) = oneshot::channel();
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = outgoing.next;
        outgoing.next = number.checked_add(1).unwrap_or(1);
        // If the connection has ended, the answer reports that.
        drop(outgoing.waiting.send((number, tell)));
        drop(outgoing.frames.send(request(number, kind, &body.0)));
        Pending(answer)
    }

    /// Resolves when the node at the path changes, for a request sent after this call with its watch set.
    pub(super) fn changed(&self, path: &str) -> oneshot::Receiver<()> {
        let (tell, changed) = oneshot::channel();
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.once.entry(path.to_owned()).or_default().push(tell);
        changed
    }

    /// The paths of nodes created from now on, where [`Kind::AddWatch`] asks for them.
    pub(super) fn made(&self) -> mpsc::UnboundedReceiver<String> {
        let (tell, made) = mpsc::unbounded_channel();
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).made = Some(tell);
        made
    }
}

fn framed(content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + content.len());
    frame.put_i32(i32::try_from(content.len()).unwrap_or(i32::MAX));
    frame.put_slice(content);
    frame.freeze()
}

fn request(number: i32, kind: Kind, body: &[u8]) -> Bytes {
    let mut content = BytesMut::with_capacity(8 + body.len());
    content.put_i32(number);
    content.put_i32(kind as i32);
    content.put_slice(body);
    framed(&content)
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Bytes>) {
    let mut together = BytesMut::new();
    while let Some(first) = frames.recv().await {
        together.put(first);
        while let Ok(next) = frames.try_recv() {
            together.put(next);
        }
        if writer.write_all(&together).await.is_err() {
            return;
        }
        together.clear();
    }
}

async fn ping(frames: mpsc::UnboundedSender<Bytes>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if frames.send(request(PING, Kind::Ping, &[])).is_err() {
            return;
        }
    }
}

async fn frame(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Bytes> {
    let length = reader.read_i32().await.map_err(Error::io("read from ZooKeeper"))?;
    let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_MAX).ok_or_else(short)?;
    let mut content = vec![0; length];
    reader.read_exact(&mut content).await.map_err(Error::io("read from ZooKeeper"))?;
    Ok(content.into())
}

/// Reads until the connection ends; waiting requests then see that no answer will come.
async fn read(
    reader: OwnedReadHalf,
    mut expected: mpsc::UnboundedReceiver<(i32, oneshot::Sender<Reply>)>,
    watches: Arc<Mutex<Watches>>,
) {
    let mut reader = tokio::io::BufReader::new(reader);
    while let Ok(content) = frame(&mut reader).await {
        if take(content, &mut expected, &watches).is_err() {
            break;
        }
    }
    *watches.lock().unwrap_or_else(PoisonError::into_inner) = Watches::default();
}

fn take(
    content: Bytes,
    expected: &mut mpsc::UnboundedReceiver<(i32, oneshot::Sender<Reply>)>,
    watches: &Mutex<Watches>,
) -> Result<()> {
    let mut answer = Answer(content);
    let number = answer.number()?;
    answer.0.try_get_i64().map_err(|_| short())?;
    let code = answer.number()?;
    match number {
        PING => {}
        EVENT => tell(&mut answer, watches)?,
        _ => {
            let (asked, waiting) = expected.try_recv().map_err(|_| ended())?;
            if asked != number {
                return Err(Error::other("ZooKeeper answered out of turn"));
            }
            // The caller may be gone.
            drop(waiting.send((code, answer)));
        }
    }
    Ok(())
}

fn tell(event: &mut Answer, watches: &Mutex<Watches>) -> Result<()> {
    const NODE_CREATED: i32 = 1;
    let (kind, _state, path) = (event.number()?, event.number()?, event.text()?);
    let mut watches = watches.lock().unwrap_or_else(PoisonError::into_inner);
    for waiting in watches.once.remove(&path).unwrap_or_default() {
        // The receiver may be gone.
        let _ = waiting.send(());
    }
    if let Some(made) = watches.made.as_ref().filter(|_| kind == NODE_CREATED) {
        drop(made.send(path));
    }
    Ok(())
}
