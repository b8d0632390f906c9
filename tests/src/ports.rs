//! Ports for servers that are started by their number.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Ports on loopback that are nobody else's for as long as this lives.
///
/// A port that was merely free when it was looked for can be another's by the time the server takes it, and again while the server is
/// down. These stay bound, but nothing listens: a connection is refused until the server is there. The server can take its port all the
/// same, for `SO_REUSEADDR` is set on both sides (tokio, Go, Redis and ZooKeeper set it), which Linux allows while at most one of the
/// sockets listens (socket(7)); whoever asks for any port is given another.
#[derive(Debug, Default)]
pub struct Ports {
    reserved: Vec<Socket>,
}

impl Ports {
    /// One more port.
    ///
    /// # Errors
    /// When the machine has none left.
    pub fn take(&mut self) -> io::Result<u16> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Exclusive until it is ours, and only then shared: two that share from the start could be given the same one.
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.set_reuse_address(true)?;
        let address = socket.local_addr()?.as_socket();
        self.reserved.push(socket);
        address.map(|address| address.port()).ok_or_else(|| io::Error::other("bound to no internet address"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_nobody_elses_while_its_server_is_down() {
        let mut ports = Ports::default();
        let port = ports.take().unwrap();
        let address = (Ipv4Addr::LOCALHOST, port);
        for _ in 0..2 {
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let exclusive = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let taken = exclusive.bind(&SocketAddr::from(address).into()).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);

            let server = TcpListener::bind(address).expect("the server it is for");
            drop(TcpStream::connect(address).unwrap());
            TcpListener::bind(address).expect_err("a second server");
            drop(server);
        }
    }
}
