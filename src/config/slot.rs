//! [`PathSlot`]: the one segment of a path that a token goes into (Telegram: `/bot{token}/**`).

use std::borrow::Cow;

/// What stands in a template where the token goes.
const TOKEN: &str = "{token}";

/// A path template, checked at load.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathSlot {
    index: usize,
    prefix: Box<str>,
    suffix: Box<str>,
    /// The same as a route's path pattern: `*` for the token's segment.
    pattern: Box<str>,
}

impl PathSlot {
    /// `/bot{token}/**`: literal segments and `*`, then one with `{token}` in it, then any pattern.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix('/').ok_or("a path template starts with `/`")?;
        let mut found = None;
        let mut pattern = String::new();
        for (index, segment) in rest.split('/').enumerate() {
            pattern.push('/');
            let Some((prefix, suffix)) = segment.split_once(TOKEN) else {
                if found.is_none() && segment == "**" {
                    return Err("`**` may not stand before `{token}`: its segment is counted");
                }
                pattern.push_str(segment);
                continue;
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:@".contains(&b);
            if !prefix.bytes().chain(suffix.bytes()).all(plain) || found.is_some() {
                return Err("`{token}` stands once, among letters, digits and `-._~:@`");
            }
            found = Some((index, prefix.into(), suffix.into()));
            pattern.push('*');
        }
        let (index, prefix, suffix) = found.ok_or("a path template holds `{token}`")?;
        Ok(Self { index, prefix, suffix, pattern: pattern.into() })
    }

    /// What its route matches: the template with `*` for the token's segment.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether decoded segments have the slot, with anything in it.
    pub fn fits(&self, segments: &[Cow<'_, str>]) -> bool {
        segments.get(self.index).is_some_and(|segment| {
            let inner =
                segment.strip_prefix(&*self.prefix).and_then(|s| s.strip_suffix(&*self.suffix));
            inner.is_some_and(|inner| !inner.is_empty())
        })
    }

    /// Whether some segment of a path as sent, wherever it stands, begins as the slot's does, in
    /// any case.
    pub fn shows(&self, path: &str) -> bool {
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let begins = |segment: &str| {
            let head = segment.as_bytes().get(..self.prefix.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(self.prefix.as_bytes()))
        };
        !self.prefix.is_empty() && path.split('/').any(begins)
    }

    /// What stands in the slot of a path as sent, still encoded.
    pub fn value<'a>(&self, path: &'a str) -> Option<&'a str> {
        let segment = path.strip_prefix('/')?.split('/').nth(self.index)?;
        let bare = segment.strip_prefix(&*self.prefix).and_then(|s| s.strip_suffix(&*self.suffix));
        Some(bare.unwrap_or(segment))
    }

    /// The path with `value` in the slot, whatever stood there. `None`: it has no such segment.
    pub fn fill(&self, path: &str, value: &str) -> Option<String> {
        let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let filled = format!("{}{value}{}", self.prefix, self.suffix);
        *segments.get_mut(self.index)? = &filled;
        Some(format!("/{}", segments.join("/")))
    }

    /// The template as config has it.
    pub fn template(&self) -> String {
        let mut segments: Vec<_> = self.pattern[1..].split('/').map(str::to_owned).collect();
        if let Some(segment) = segments.get_mut(self.index) {
            *segment = format!("{}{TOKEN}{}", self.prefix, self.suffix);
        }
        format!("/{}", segments.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_segment_holds_the_token() {
        let slot = PathSlot::parse("/bot{token}/**").unwrap();
        assert_eq!((slot.pattern(), slot.template().as_str()), ("/*/**", "/bot{token}/**"));
        assert_eq!(slot.fill("/botMINE/send", "1:A").unwrap(), "/bot1:A/send");
        assert_eq!(slot.value("/bot1%3AA/send"), Some("1%3AA"));
        let fits = |path: &str| slot.fits(&path[1..].split('/').map(Cow::from).collect::<Vec<_>>());
        assert!(fits("/botX/send") && !fits("/bot/send") && !fits("/robotX"));
        let deep = PathSlot::parse("/v1/*/{token}").unwrap();
        assert_eq!(deep.fill("/v1/a/b", "t").unwrap(), "/v1/a/t");
        assert_eq!(deep.fill("/v1/a", "t"), None);
        for bad in [
            "bot{token}",
            "/bot",
            "/**/{token}",
            "/{token}/{token}",
            "/a?{token}",
            "/{token}{token}",
        ] {
            assert!(PathSlot::parse(bad).is_err(), "{bad}");
        }
    }
}
