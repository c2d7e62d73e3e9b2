//! A way to a host that a test can close: connections are refused, broken off, answered with nonsense, or never answered.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They reach the host.
    Open,
    /// There is nothing at the port.
    Refused,
    /// They are closed as soon as they are there.
    Reset,
    /// What answers does not speak TLS, nor HTTP.
    Nonsense,
    /// Nothing answers.
    BlackHole,
}

pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    way: Mutex<Way>,
    connections: Mutex<Vec<TcpStream>>,
    has_ended: Mutex<bool>,
}

/// Gates have addresses of their own: at those, no other test takes a port meanwhile.
static COUNT: AtomicU8 = AtomicU8::new(1);

impl Gate {
    /// Returns an address that no other gate has.
    pub fn own_address() -> IpAddr {
        IpAddr::from([127, 0, 77, COUNT.fetch_add(1, Ordering::Relaxed)])
    }

    /// Opens a way from an address of its own to a host.
    pub fn new(own: IpAddr, host: SocketAddr) -> Self {
        let listener = TcpListener::bind((own, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: host,
            way: Mutex::new(Way::Open),
            connections: Mutex::default(),
            has_ended: Mutex::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || own.listen(listener, address));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets connections go another way from now on; those that there are break off.
    pub fn set(&self, way: Way) {
        *self.shared.way.lock().unwrap() = way;
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        // The thread that waits for a connection looks again.
        let _ = TcpStream::connect(self.address);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        *self.shared.has_ended.lock().unwrap() = true;
        self.set(Way::Open);
    }
}

impl Shared {
    fn listen(self: Arc<Self>, listener: TcpListener, address: SocketAddr) {
        let mut listener = Some(listener);
        while !*self.has_ended.lock().unwrap() {
            let way = *self.way.lock().unwrap();
            if way == Way::Refused {
                listener = None;
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let Ok((client, _)) =
                listener.get_or_insert_with(|| TcpListener::bind(address).unwrap()).accept()
            else {
                continue;
            };
            let way = *self.way.lock().unwrap();
            if matches!(way, Way::Refused | Way::Reset) {
                continue; // dropped
            }
            self.connections.lock().unwrap().push(client.try_clone().unwrap());
            let own = Arc::clone(&self);
            std::thread::spawn(move || own.serve(client, way));
        }
    }

    fn serve(&self, mut client: TcpStream, way: Way) {
        match way {
            Way::Open => {
                let Ok(host) = TcpStream::connect(self.to) else { return };
                let (mut from, mut to) = (client.try_clone().unwrap(), host.try_clone().unwrap());
                let back = std::thread::spawn(move || {
                    let (mut host, mut client) = (host, client);
                    let _ = std::io::copy(&mut host, &mut client);
                    let _ = client.shutdown(Shutdown::Both);
                });
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
                let _ = back.join();
            }
            Way::Nonsense => {
                let _ = client.read(&mut [0; 512]);
                let _ = client.write_all(b"220 mail.example ESMTP\r\n");
            }
            // Until it is broken off.
            Way::BlackHole => {
                let _ = std::io::copy(&mut client, &mut std::io::sink());
            }
            Way::Refused | Way::Reset => {}
        }
    }
}
