//! The smallest HTTP server that serves `GET /metrics`: one request a connection, one connection at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Wake;
use super::metrics::Metrics;

impl<K: Send + Sync + 'static> Metrics<K> {
    /// Serves on `address` in a thread of its own.
    ///
    /// # Errors
    /// What the system says of the address.
    pub fn serve(self, address: SocketAddr, wake: Arc<Wake>) -> io::Result<JoinHandle<()>> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            while !wake.stopped() {
                let mut files = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                // The thread looks for the end of the engine as often as this.
                let _ = poll(&mut files, PollTimeout::from(200_u16));
                while let Ok((client, _)) = listener.accept() {
                    // A client that breaks off is not this engine's trouble.
                    let _ = self.answer(&client);
                }
            }
        })
    }

    fn answer(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        let mut request = BufReader::new(client.take(MAX_REQUEST_OCTETS));
        request.read_line(&mut line)?;
        let mut header = String::new();
        while request.read_line(&mut header)? > 2 {
            header.clear();
        }
        let (status, kind, body) = match respond(&line) {
            Response::Metrics => ("200 OK", OPENMETRICS, self.encode()),
            Response::NotFound => ("404 Not Found", TEXT, "see /metrics\n".to_owned()),
            Response::NotAllowed => ("405 Method Not Allowed", TEXT, "GET only\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut client = client;
        client.write_all(head.as_bytes())?;
        client.write_all(body.as_bytes())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Metrics,
    NotFound,
    NotAllowed,
}

fn respond(line: &str) -> Response {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some(path)) if path.split('?').next() == Some("/metrics") => Response::Metrics,
        (Some("GET"), _) => Response::NotFound,
        _ => Response::NotAllowed,
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_REQUEST_OCTETS: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_of_the_one_path_is_served() {
        assert_eq!(respond("GET /metrics HTTP/1.1\r\n"), Response::Metrics);
        assert_eq!(respond("GET /metrics?x=1 HTTP/1.1\r\n"), Response::Metrics);
        assert_eq!(respond("GET / HTTP/1.1\r\n"), Response::NotFound);
        assert_eq!(respond("POST /metrics HTTP/1.1\r\n"), Response::NotAllowed);
        assert_eq!(respond("\r\n"), Response::NotAllowed);
    }
}
