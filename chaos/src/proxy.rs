//! A TCP proxy between one process and one server: a cable that can be pulled, pinched, or left hanging in the air.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cable {
    /// Everything.
    Whole,
    /// Everything, this much later.
    Slow(Duration),
    /// Nothing: connections are reset, new ones at once.
    Cut,
    /// Nothing, and nobody is told: connections stay open, and new ones are accepted.
    Hanging,
}

/// A listener in front of one server.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    cable: watch::Sender<Cable>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Listens on `port` and passes on to `target`, both on the loopback interface.
    pub(crate) async fn start(port: u16, target: u16) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).await?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            cable: watch::channel(Cable::Whole).0,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (stop, cable, tasks) = (proxy.stop.clone(), proxy.cable.clone(), proxy.tasks.clone());
        proxy.tasks.spawn(async move {
            while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
                // Out of file descriptors, say: the next one may work.
                let Ok((near, _)) = accepted else { continue };
                let (stop, cable) = (stop.clone(), cable.subscribe());
                tasks.spawn(async move { stop.run_until_cancelled(carry(near, target, cable)).await });
            }
        });
        Ok(Arc::new(proxy))
    }

    /// Where clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes what passes, for open connections too.
    pub(crate) fn set(&self, cable: Cable) {
        self.cable.send_replace(cable);
    }

    /// Closes all connections and listens no more.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Carries one connection until an end closes it or the cable is cut.
async fn carry(near: TcpStream, target: u16, mut cable: watch::Receiver<Cable>) {
    if *cable.borrow() == Cable::Cut {
        return reset(near);
    }
    let far = async {
        // What can't pass waits before it reaches the server.
        let _ = cable.clone().wait_for(|cable| *cable != Cable::Hanging).await;
        TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await
    };
    let Ok(far) = far.await else { return reset(near) };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let (mut near, mut far) = (near, far);
    let cut = {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        let there = pump(near_in, far_out, cable.clone());
        let back = pump(far_in, near_out, cable.clone());
        tokio::select! {
            () = async { tokio::join!(there, back); } => false,
            _ = cable.wait_for(|cable| *cable == Cable::Cut) => true,
        }
    };
    if cut {
        reset(near);
        reset(far);
    }
}

/// One direction. Ends with its source, or when its sink takes no more.
async fn pump(
    mut source: impl tokio::io::AsyncRead + Unpin,
    mut sink: impl tokio::io::AsyncWrite + Unpin,
    mut cable: watch::Receiver<Cable>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = source.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        let _ = cable.wait_for(|cable| *cable != Cable::Hanging).await;
        let slow = match *cable.borrow() {
            Cable::Slow(delay) => Some(delay),
            _ => None,
        };
        if let Some(delay) = slow {
            tokio::time::sleep(delay).await;
        }
        if sink.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = sink.shutdown().await;
}

/// Closes with RST instead of FIN, as a broken connection does.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with the same byte.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut input, mut output) = stream.split();
                    let _ = tokio::io::copy(&mut input, &mut output).await;
                });
            }
        });
        port
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_all(&[7]).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn a_whole_cable_carries_and_a_cut_one_resets() {
        let proxy = Proxy::start(0, echo().await).await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 7);
        proxy.set(Cable::Cut);
        assert!(stream.read_u8().await.is_err());
        let mut second = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert!(ask(&mut second).await.is_err());
        proxy.set(Cable::Whole);
        let mut third = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(ask(&mut third).await.unwrap(), 7);
        proxy.stop().await;
        assert!(third.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_hanging_cable_gives_back_what_it_holds() {
        let proxy = Proxy::start(0, echo().await).await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 7);
        proxy.set(Cable::Hanging);
        stream.write_all(&[8]).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(100), stream.read_u8());
        assert!(silence.await.is_err());
        proxy.set(Cable::Whole);
        assert_eq!(stream.read_u8().await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_slow_cable_takes_its_time() {
        let proxy = Proxy::start(0, echo().await).await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        proxy.set(Cable::Slow(Duration::from_millis(50)));
        let start = tokio::time::Instant::now();
        assert_eq!(ask(&mut stream).await.unwrap(), 7);
        assert!(start.elapsed() >= Duration::from_millis(100));
    }
}
