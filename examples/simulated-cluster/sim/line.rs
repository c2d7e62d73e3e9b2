//! Connections to a node, which break when it does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

/// A node's socket. It stays bound while the node is down, so that a reboot changes no port.
#[derive(Default)]
pub struct Line {
    down: AtomicBool,
    open: Mutex<Vec<JoinHandle<()>>>,
}

impl Line {
    /// Breaks every connection.
    pub fn cut(&self) {
        for task in self.open.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    /// Lets no new connection in, or lets them in again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        if down {
            self.cut();
        }
    }

    /// Passes connections on to a server.
    pub fn accept(
        self: &Arc<Self>,
        listener: TcpListener,
    ) -> ReceiverStream<Result<DuplexStream, std::io::Error>> {
        let (send, receive) = tokio::sync::mpsc::channel(16);
        let line = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                if line.down.load(Ordering::SeqCst) {
                    continue; // dropped, and so closed
                }
                let _ = tcp.set_nodelay(true);
                let (mut near, far) = tokio::io::duplex(64 * 1024);
                let task = tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut tcp, &mut near).await;
                });
                {
                    let mut open = line.open.lock().unwrap();
                    open.retain(|task| !task.is_finished());
                    open.push(task);
                }
                if send.send(Ok(far)).await.is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(receive)
    }
}
