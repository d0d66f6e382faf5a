//! Why a command failed: one line for the operator, and the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::words::Wrong;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A word does not belong.
    #[error("{0}; try espctl --help")]
    Wrong(#[from] Wrong),
    /// A word of a batch does not belong.
    #[error("{file}:{line}: {wrong}")]
    WrongInBatch {
        /// The file, or `-`.
        file: String,
        /// From 1.
        line: usize,
        /// The complaint.
        wrong: Wrong,
    },
    /// An option is unknown or lacks its value.
    #[error("{option}: {expected}; try espctl --help")]
    Option {
        /// The option.
        option: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A batch file cannot be read.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// The reason.
        error: std::io::Error,
    },
    /// Nobody listens.
    #[error("{}: {errno}: is {server} running with this --runtime-dir?", socket.display())]
    NoServer {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        errno: nix::errno::Errno,
        /// Who should listen.
        server: &'static str,
    },
    /// The connection broke.
    #[error("{server} went away or does not answer: {errno}")]
    Broken {
        /// Who was asked.
        server: &'static str,
        /// The reason.
        errno: nix::errno::Errno,
    },
    /// The answer or the request cannot be a message.
    #[error("{server}: {error}")]
    Message {
        /// Who was asked.
        server: &'static str,
        /// The reason.
        error: shm_protocol::Error,
    },
    /// The answer is to another question.
    #[error("{server} gave an answer to another question: it is of another release")]
    Surprise {
        /// Who was asked.
        server: &'static str,
    },
    /// The request was refused.
    #[error("{sentence}")]
    Refused {
        /// What and why.
        sentence: String,
    },
    /// A change of a batch was refused; none of its generation was made.
    #[error("{file}:{line}: {sentence} (changes of lines {first}-{last} were not made)")]
    RefusedInBatch {
        /// The file, or `-`.
        file: String,
        /// The line of the change.
        line: usize,
        /// What and why.
        sentence: String,
        /// The first line of what would have been one generation.
        first: usize,
        /// The last one.
        last: usize,
    },
    /// Standard output is closed.
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// Returns the exit code: 1 failed at run time, 2 wrong usage.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) | Self::WrongInBatch { .. } | Self::Option { .. } => ExitCode::from(2),
            Self::File { .. }
            | Self::NoServer { .. }
            | Self::Broken { .. }
            | Self::Message { .. }
            | Self::Surprise { .. }
            | Self::Refused { .. }
            | Self::RefusedInBatch { .. }
            | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}
