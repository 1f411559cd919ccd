//! Texts that others give.

use alloc::string::String;

/// Cuts a text to at most so many bytes, between characters.
#[must_use]
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        const MOST: usize = 512;
        assert_eq!(cut("short".into(), MOST), "short");
        let long: String = "\u{e9}".repeat(MOST);
        let cut = cut(long.clone(), MOST);
        assert!(cut.len() <= MOST && cut.len() > MOST - 2 && long.starts_with(&cut));
    }
}
