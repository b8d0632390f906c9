//! Invisible characters, and those that change the look of other characters. Two texts that differ only by them look alike.
//!
//! These are Unicode's control and format characters (including the bidirectional controls), everything a renderer may leave out
//! (`Default_Ignorable_Code_Point`), separators of lines and paragraphs, and white space and blanks other than the plain space. The
//! list is that of Unicode 16 and is written out, so that every build refuses the same characters. It does not contain letters of different
//! scripts that look alike, because that is not a property of a single character.

use std::fmt;
use std::ops::RangeInclusive;

/// The first invisible character of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invisible {
    /// The character.
    pub character: char,
    /// The number of characters before it.
    pub before: usize,
}

impl fmt::Display for Invisible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.character.is_control() {
            "control character"
        } else if self.character.is_whitespace() {
            "white space"
        } else {
            "invisible character"
        };
        let (code, place) = (u32::from(self.character), self.before + 1);
        write!(
            f,
            "has the {kind} U+{code:04X} as its character {place}; use only characters that can be seen, and plain spaces"
        )
    }
}

/// Format characters, and those that a renderer may leave out, in ascending order.
const NOT_SHOWN: [RangeInclusive<char>; 30] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    // A braille cell without dots.
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    // Private use, here and at the end: their look depends on the font.
    '\u{e000}'..='\u{f8ff}',
    '\u{fdd0}'..='\u{fdef}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{16fe4}'..='\u{16fe4}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
    '\u{f0000}'..='\u{10ffff}',
];

fn is_invisible(character: char) -> bool {
    match character {
        ' '..='~' => false,
        _ if character.is_control() || character.is_whitespace() => true,
        // The last two of each plane are not characters.
        _ => {
            u32::from(character) & 0xfffe == 0xfffe
                || NOT_SHOWN.iter().any(|range| range.contains(&character))
        }
    }
}

/// Finds the first invisible character of a text, if there is one.
#[must_use]
pub fn first(text: &str) -> Option<Invisible> {
    find(text, is_invisible)
}

pub(crate) fn find(text: &str, unwanted: impl Fn(char) -> bool) -> Option<Invisible> {
    let (before, character) = text.chars().enumerate().find(|(_, character)| unwanted(*character))?;
    Some(Invisible { character, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_ascending_order() {
        assert!(NOT_SHOWN.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }

    #[test]
    fn letters_marks_and_symbols_are_visible() {
        for text in ["orders/42", "a b", "größe/π", "e\u{301}", "заказы", "注文/四十二", "नमस्ते", "→ ✓", "🦀"]
        {
            assert_eq!(first(text), None, "{text:?}");
        }
    }

    #[test]
    fn invisible_characters_are_found() {
        let bidirectional = ['\u{61c}', '\u{200e}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
        let zero_width = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{180e}'];
        let left_out = ['\u{ad}', '\u{34f}', '\u{fe0f}', '\u{e0100}', '\u{e0041}', '\u{3164}', '\u{115f}'];
        let blank = ['\t', '\u{85}', '\u{a0}', '\u{2003}', '\u{2028}', '\u{2029}', '\u{3000}', '\u{2800}'];
        let format = ['\u{605}', '\u{110bd}', '\u{1d173}', '\u{fff9}', '\0', '\u{7f}', '\u{9b}'];
        for character in [&bidirectional[..], &zero_width, &left_out, &blank, &format].concat() {
            let found = first(&format!("a{character}b"));
            assert_eq!(found, Some(Invisible { character, before: 1 }), "U+{:04X}", u32::from(character));
        }
    }
}
