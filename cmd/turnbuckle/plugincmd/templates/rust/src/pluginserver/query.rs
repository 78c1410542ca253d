use super::text;

/// The query of a request: pairs in order. Those that nobody changes keep their bytes, whatever escapes they use.
pub struct Query {
    raw: String,
    pub(crate) edited: bool,
    pub(crate) broken: Option<String>,
}

impl Query {
    pub(crate) fn new(raw: String) -> Self {
        Query { raw, edited: false, broken: None }
    }

    /// What stands behind the question mark.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    pub fn set_raw(&mut self, text: &str) {
        if text.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
            self.broken.get_or_insert(format!("query {text:?}: want no blanks, control characters or #"));
            return;
        }
        self.keep(text.into());
    }

    pub fn get(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.parts().filter(|p| name_of(p) == name).map(|p| unescape(p.split_once('=').map_or("", |(_, value)| value))).collect()
    }

    /// Replaces all pairs of the name by one, in the place of the first.
    pub fn set(&mut self, name: &str, value: &str) {
        let at = self.parts().position(|p| name_of(p) == name).unwrap_or(self.parts().count());
        let mut parts: Vec<String> = self.parts().filter(|p| name_of(p) != name).map(String::from).collect();
        parts.insert(at, pair(name, value));
        self.keep(parts.join("&"));
    }

    pub fn add(&mut self, name: &str, value: &str) {
        let mut parts: Vec<String> = self.parts().map(String::from).collect();
        parts.push(pair(name, value));
        self.keep(parts.join("&"));
    }

    pub fn remove(&mut self, name: &str) {
        let left: Vec<&str> = self.parts().filter(|p| name_of(p) != name).collect();
        if left.len() < self.parts().count() {
            self.keep(left.join("&"));
        }
    }

    fn keep(&mut self, raw: String) {
        self.raw = raw;
        self.edited = true;
    }

    fn parts(&self) -> impl Iterator<Item = &str> {
        self.raw.split('&').filter(|p| !p.is_empty())
    }
}

fn name_of(part: &str) -> String {
    unescape(part.split('=').next().unwrap_or(""))
}

fn pair(name: &str, value: &str) -> String {
    format!("{}={}", escape(name), escape(value))
}

/// Escapes as forms do: a blank becomes a plus.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Undoes escapes; text whose escapes are broken stays as it is.
fn unescape(escaped: &str) -> String {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(b) = rest.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return escaped.into() };
                out.push((high << 4 | low) as u8);
            }
            _ => out.push(b),
        }
    }
    text(&out)
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn pairs_that_nobody_changes_keep_their_bytes() {
        let mut q = Query::new("a=%41&b&q=1&q=2&c=%2f&d=%zz".into());
        q.set("q", "é &");
        q.add("n w", "+");
        q.remove("b");
        assert_eq!(q.raw(), "a=%41&q=%C3%A9+%26&c=%2f&d=%zz&n+w=%2B");
        assert_eq!((q.get("a"), q.get("c"), q.get("d")), (Some("A".into()), Some("/".into()), Some("%zz".into())));
    }
}
