//! Reserves ports for servers that are given a port number.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Loopback ports that no other process can get as long as this value lives.
///
/// A port that was free when it was chosen may be taken by another process before the server binds it, or while the server is down.
/// These ports stay bound without listening, so a connection is refused until the server listens. The server can still bind its
/// port, because both sides set `SO_REUSEADDR` (tokio, Go, Redis and ZooKeeper do), which Linux allows while at most one of the
/// sockets listens (socket(7)). A process that asks for any free port gets another one.
#[derive(Debug, Default)]
pub struct Ports {
    reserved: Vec<Socket>,
}

impl Ports {
    /// Reserves one more port.
    ///
    /// # Errors
    /// When the machine has no free port left.
    pub fn take(&mut self) -> io::Result<u16> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Bind exclusively first and share afterwards: two sockets that share from the start could get the same port.
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
    fn reserved_port_stays_reserved_without_its_server() {
        let mut ports = Ports::default();
        let port = ports.take().unwrap();
        let address = (Ipv4Addr::LOCALHOST, port);
        for _ in 0..2 {
            let refused = TcpStream::connect(address).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let exclusive = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let taken = exclusive.bind(&SocketAddr::from(address).into()).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);

            let server = TcpListener::bind(address).expect("the server can bind the reserved port");
            drop(TcpStream::connect(address).unwrap());
            TcpListener::bind(address).expect_err("a second server");
            drop(server);
        }
    }
}
