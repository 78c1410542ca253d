use super::pb::{Field, HeaderOp, HeaderOpKind};
use super::text;

/// Header lines in order. Names compare without case. Changes are noted for the gateway.
#[derive(Default)]
pub struct Headers {
    lines: Vec<Field>,
    pub(crate) ops: Vec<HeaderOp>,
    pub(crate) broken: Option<String>, // a change that no message can carry
}

/// Whether it is a token of RFC 9110 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl Headers {
    pub(crate) fn new(lines: Vec<Field>) -> Self {
        Headers { lines, ..Default::default() }
    }

    /// The first value.
    pub fn get(&self, name: &str) -> Option<String> {
        self.lines.iter().find(|l| l.name.eq_ignore_ascii_case(name)).map(|l| text(&l.value))
    }

    /// All values in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.lines.iter().filter(|l| l.name.eq_ignore_ascii_case(name)).map(|l| text(&l.value)).collect()
    }

    /// Names and values as they travel.
    pub fn lines(&self) -> &[Field] {
        &self.lines
    }

    /// Replaces all lines of the name by one, in the place of the first.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let Some(line) = self.note(HeaderOpKind::Set, name, value.as_ref()) else { return };
        let at = self.lines.iter().position(|l| l.name.eq_ignore_ascii_case(name)).unwrap_or(self.lines.len());
        self.lines.retain(|l| !l.name.eq_ignore_ascii_case(name));
        self.lines.insert(at, line);
    }

    /// Appends a line.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        if let Some(line) = self.note(HeaderOpKind::Add, name, value.as_ref()) {
            self.lines.push(line);
        }
    }

    /// Removes all lines of the name.
    pub fn remove(&mut self, name: &str) {
        if self.note(HeaderOpKind::Del, name, b"").is_some() {
            self.lines.retain(|l| !l.name.eq_ignore_ascii_case(name));
        }
    }

    fn note(&mut self, kind: HeaderOpKind, name: &str, value: &[u8]) -> Option<Field> {
        if !is_token(name) {
            self.broken.get_or_insert(format!("header name {name:?}: want a token (RFC 9110 5.6.2)"));
            return None;
        }
        if value.iter().any(|b| *b < b' ' && *b != b'\t' || *b == 0x7f) {
            self.broken.get_or_insert(format!("value of header {name}: want no control characters (RFC 9110 5.5)"));
            return None;
        }
        self.ops.push(HeaderOp { kind: kind as i32, name: name.into(), value: value.into() });
        Some(Field { name: name.into(), value: value.into() })
    }
}
