//! The hosts that a sandboxed program may reach, checked as the HTTP tools check theirs.

use std::{future::Future, pin::Pin};

use agentkit_sandbox::Dial;
use tokio::net::TcpStream;
use url::Url;

use super::{Settings, connect, target::Target};

/// Places by name and port. Each connection resolves the host anew, checks every address, and goes to a checked address.
pub struct Hosts {
    places: Vec<(String, u16)>,
    settings: Settings,
}

impl Hosts {
    /// These places; hosts are in lower case.
    #[must_use]
    pub fn new(places: Vec<(String, u16)>, settings: Settings) -> Self {
        Self { places, settings }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_granted = self
            .places
            .iter()
            .any(|place| place.0 == host && place.1 == port);
        if !is_granted && !units::mutant!("agentkit-tools.any_host") {
            let known = self
                .places
                .iter()
                .map(|(host, port)| format!("{host}:{port}"));
            let known: Vec<String> = known.collect();
            return Err(format!(
                "{host}:{port} is not granted to this tool; {} is",
                known.join(", ")
            ));
        }
        let url = Url::parse(&format!("https://{host}:{port}/"));
        let url = url.map_err(|_| format!("{host}:{port} is no place"))?;
        let target = Target::check(&url, &self.settings).await;
        let target = target.map_err(|failure| failure.message)?;
        let dialled = connect::dial(&target.addresses).await;
        dialled.map_err(|error| format!("{host}:{port} cannot be reached: {error}"))
    }
}

impl Dial for Hosts {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send + 'a>> {
        Box::pin(self.connect(host, port))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_granted_places_with_addresses_that_are_allowed_are_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = vec![("127.0.0.1".to_owned(), port)];
        let allowed = Settings {
            allow: "127.0.0.1".parse().unwrap(),
            ..Settings::default()
        };
        let hosts = Hosts::new(place.clone(), allowed.clone());
        assert!(hosts.dial("127.0.0.1", port).await.is_ok());
        let error = hosts.dial("localhost", port).await.unwrap_err();
        assert!(error.contains("is not granted"), "{error}");
        let error = hosts.dial("127.0.0.1", port ^ 1).await.unwrap_err();
        assert!(error.contains("is not granted"), "{error}");
        // Granted, but private: the settings of the HTTP tools decide, and the server itself is never reached.
        let error = Hosts::new(place.clone(), Settings::default());
        let error = error.dial("127.0.0.1", port).await.unwrap_err();
        assert!(error.contains("is not on the public internet"), "{error}");
        allowed.own.add(listener.local_addr().unwrap());
        let error = Hosts::new(place, allowed)
            .dial("127.0.0.1", port)
            .await
            .unwrap_err();
        assert!(
            error.contains("is the server that runs this agent"),
            "{error}"
        );
    }
}
