//! The way from one replica to one member of etcd, or from one edge to one replica, which can be cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Passes connections on until it is cut. While it is cut, connections are accepted and stay silent: so does a network that
/// loses everything.
pub struct Gate {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
    member: Arc<Mutex<SocketAddr>>,
}

impl Gate {
    pub async fn to(member: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), watch::Sender::new(true));
        let (state, member) = (Arc::new(open.clone()), Arc::new(Mutex::new(member)));
        let leads_to = Arc::clone(&member);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let member = *leads_to.lock().unwrap();
                tokio::spawn(pass(stream, member, state.subscribe()));
            }
        });
        Self { address, open, member }
    }

    /// Leads new connections somewhere else.
    pub fn lead_to(&self, member: SocketAddr) {
        *self.member.lock().unwrap() = member;
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut stream: TcpStream, member: SocketAddr, mut open: watch::Receiver<bool>) -> io::Result<()> {
    if *open.borrow_and_update() {
        let mut onward = TcpStream::connect(member).await?;
        tokio::select! {
            passed = copy_bidirectional(&mut stream, &mut onward) => return passed.map(drop),
            _ = open.changed() => {}
        }
    }
    // What was cut stays silent until the way is open again, and then ends.
    while !*open.borrow_and_update() {
        if open.changed().await.is_err() {
            break;
        }
    }
    Ok(())
}
