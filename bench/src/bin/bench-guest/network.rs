//! A connection over loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;

pub(super) fn connect_accept_close() {
    static LISTENER: OnceLock<(TcpListener, SocketAddr)> = OnceLock::new();
    let (listener, address) = LISTENER.get_or_init(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    });
    let _connected = TcpStream::connect(address).expect("somebody listens");
    listener.accept().expect("somebody has connected");
}
