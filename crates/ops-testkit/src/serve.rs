//! What the two witness programs share: a loopback listener, the ready line, the end.

use std::{
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    thread,
};

use axum::{Router, serve::ListenerExt as _};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot};

/// When a witness ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is killed.
    Killed,
    /// When its standard input closes, as it does when the test that started it dies.
    StdinCloses,
}

/// Serves on a loopback port (0 picks a free one) and says where in one line on standard output:
/// `{"ready":"http://127.0.0.1:PORT"}`.
pub async fn serve(port: u16, routes: Router, until: Until) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let ready = json!({"ready": format!("http://{}", listener.local_addr()?)});
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    // Small pieces of a stream must not wait for each other's acknowledgement.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let serving = axum::serve(listener, routes);
    match until {
        Until::Killed => serving.await?,
        Until::StdinCloses => tokio::select! {
            served = serving => served?,
            _ = stdin_closed() => {}
        },
    }
    Ok(())
}

fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, wait) = oneshot::channel();
    thread::spawn(move || {
        let mut stdin = std::io::stdin();
        while matches!(stdin.read(&mut [0; 64]), Ok(read) if read > 0) {}
        let _ = closed.send(());
    });
    wait
}
