//! DPDK's telemetry socket: a line asks, a JSON object answers.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use serde_json::Value;

use crate::Result;

/// A connection.
#[derive(Debug)]
pub(crate) struct Telemetry(OwnedFd);

impl Telemetry {
    /// Connects and takes the greeting.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE_S, 0))?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?).with_context(|| path.display().to_string())?;
        let telemetry = Self(socket);
        telemetry.receive()?;
        Ok(telemetry)
    }

    /// Asks for something such as `/ethdev/stats,1` and returns the answer's object.
    pub(crate) fn ask(&self, question: &str) -> Result<Value> {
        send(self.0.as_raw_fd(), question.as_bytes(), MsgFlags::empty())?;
        answer(question, &self.receive()?)
    }

    fn receive(&self) -> Result<Vec<u8>> {
        let mut octets = vec![0; MOST_OCTETS];
        let length = recv(self.0.as_raw_fd(), &mut octets, MsgFlags::empty()).context("DPDK's telemetry")?;
        octets.truncate(length);
        Ok(octets)
    }
}

/// Takes an answer out of its wrapping, which bears the command's name.
fn answer(question: &str, octets: &[u8]) -> Result<Value> {
    let command = question.split(',').next().unwrap_or(question);
    let mut said: Value = serde_json::from_slice(octets).with_context(|| question.to_owned())?;
    match said.get_mut(command).map(Value::take) {
        Some(found) if !found.is_null() => Ok(found),
        _ => bail!("{question}: {said}"),
    }
}

/// Returns a counter of an answer.
pub(crate) fn counter(answer: &Value, name: &str) -> Result<u64> {
    answer.get(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {answer}"))
}

/// An answer has at most 16 KiB.
const MOST_OCTETS: usize = 1 << 15;
const PATIENCE_S: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_under_its_command_without_parameters() {
        let said = br#"{"/ethdev/stats":{"ipackets":7,"opackets":5,"q_opackets":[5,0]}}"#;
        let found = answer("/ethdev/stats,1", said).unwrap();
        assert_eq!(counter(&found, "opackets").unwrap(), 5);
        assert!(counter(&found, "q_opackets").is_err());
        assert!(counter(&found, "imissed").unwrap_err().to_string().contains("no imissed"));
    }

    #[test]
    fn a_refused_question_and_a_cut_answer_are_errors() {
        assert!(answer("/ethdev/stats,9", br#"{"/ethdev/stats":null}"#).is_err());
        assert!(answer("/ethdev/stats,1", br#"{"/ethdev/stats":{"ipack"#).is_err());
    }
}
