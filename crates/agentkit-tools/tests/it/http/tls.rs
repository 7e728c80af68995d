//! Servers have to prove who they are, by the name that was asked for.

use std::sync::Arc;

use agentkit_tools::http::Settings;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::server::{self, Names, Server, allow, answer, redirect};
use crate::harness::Harness;

/// Signed by itself, for `secure.test`; it secures nothing.
const CERTIFICATE: &[u8] = include_bytes!("../../fixtures/certificate.der");
const KEY: &[u8] = include_bytes!("../../fixtures/key.der");

async fn server() -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY)),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::serve("127.0.0.1:0", move |stream, requests| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let request = server::read(&mut stream).await;
            let bytes = match request.split(' ').nth(1) {
                Some("/down") => redirect(302, "http://secure.test/"),
                Some("/on") => redirect(302, "/"),
                _ => answer(200, "", b"secure"),
            };
            requests.lock().unwrap().push(request);
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn trusting() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn harness(tls: Option<Arc<ClientConfig>>) -> Harness {
    let names = Names::new(&[
        ("secure.test", &[&["127.0.0.1"]]),
        ("other.test", &[&["127.0.0.1"]]),
    ]);
    Harness::http(&Settings {
        resolver: names,
        tls,
        ..allow("127.0.0.1")
    })
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let server = server().await;
    let url =
        |host: &str, path: &str| json!({"url": format!("https://{host}:{}{path}", server.port())});
    let mut knows = harness(Some(trusting()));
    for (host, path) in [
        ("secure.test", "/"),
        ("secure.test", "/on"),
        ("secure.test.", "/"),
    ] {
        let result = knows.ok("http_fetch", url(host, path)).await;
        assert_eq!(result["text"], "secure", "{host}");
    }
    let answered = server.requests().len();
    for host in ["other.test", "127.0.0.1"] {
        assert_eq!(knows.code("http_fetch", url(host, "/")).await, "tls_failed");
    }
    // The system does not know it.
    let mut stranger = harness(None);
    let error = stranger
        .call("http_fetch", url("secure.test", "/"))
        .await
        .unwrap_err();
    assert_eq!(error.code, "tls_failed");
    assert_eq!(server.requests().len(), answered, "nothing was sent");
}

#[tokio::test]
async fn a_redirect_does_not_leave_tls() {
    let server = server().await;
    let url = format!("https://secure.test:{}/down", server.port());
    let error = harness(Some(trusting()))
        .call("http_fetch", json!({"url": url}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "redirect_refused");
    assert!(error.message.contains("from https to http"));
}

#[tokio::test]
async fn a_server_without_tls_is_no_secure_one() {
    let plain = Server::serve("127.0.0.1:0", |mut stream, _| async move {
        let _ = stream.write_all(&answer(200, "", b"plain")).await;
        server::read(&mut stream).await;
    })
    .await;
    let url = format!("https://secure.test:{}/", plain.port());
    let code = harness(Some(trusting()))
        .code("http_fetch", json!({"url": url}))
        .await;
    assert_eq!(code, "tls_failed");
}
