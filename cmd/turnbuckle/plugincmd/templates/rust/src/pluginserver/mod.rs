//! A small framework for plugin servers of Turnbuckle, on the stubs that tonic generates. proto/PROTOCOL.md is what it
//! implements, the native protocol; it is yours to change.

#![allow(dead_code)] // a plugin uses a part of it

mod codec;
mod exchange;
mod headers;
mod plugin;
mod query;
mod run;
mod server;
mod stream;

/// The messages of the protocol.
#[allow(clippy::all)]
pub mod pb {
    tonic::include_proto!("turnbuckle.plugin.v1");
}

pub use exchange::Exchange;
pub use plugin::{needs, Plugin};
pub use server::serve;

/// How a hook ends that does not end well.
#[derive(Debug)]
pub enum End {
    /// It ends the request on purpose, with a status from 400 to 599: the only text of a plugin that a client reads.
    Refused { status: i32, message: String, headers: Vec<(String, String)> },
    /// It gave no result. The message is for the gateway's log.
    Failed(pb::FailureCode, String),
}

impl End {
    /// A refusal without header lines.
    pub fn refused(status: i32, message: &str) -> Self {
        End::Refused { status, message: message.into(), headers: Vec::new() }
    }

    pub(crate) fn protocol(message: String) -> Self {
        End::Failed(pb::FailureCode::Protocol, message)
    }
}

/// Whatever else goes wrong in a hook, `?` makes a failure of it.
impl<E: std::error::Error> From<E> for End {
    fn from(error: E) -> Self {
        End::Failed(pb::FailureCode::Failed, clip(&error.to_string()))
    }
}

/// Bytes as text; what is no UTF-8 is read as if it were ISO 8859-1.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().map(|b| *b as char).collect(),
    }
}

/// Text within the bound of a log line or message.
pub(crate) fn clip(text: &str) -> String {
    let mut end = text.len().min(4096);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
