//! Fonts, carried by the program: IBM Plex Sans in two weights, which has the letters of all languages that are written
//! in Latin, Greek or Cyrillic. Sets a text as glyphs and says how wide it is.
//!
//! Must not know: pages.

use krilla::text::{Font, GlyphId, KrillaGlyph};
use rustybuzz::{Direction, UnicodeBuffer};

mod built {
    include!(concat!(env!("OUT_DIR"), "/fonts.rs"));
}

/// One weight.
pub struct Face {
    /// As the PDF takes it.
    pub font: Font,
    shapes: rustybuzz::Face<'static>,
}

/// All weights.
pub struct Fonts {
    /// For most.
    pub regular: Face,
    /// For what stands out.
    pub bold: Face,
}

/// A text as glyphs.
pub struct Run {
    /// The glyphs.
    pub glyphs: Vec<KrillaGlyph>,
    /// How wide it is, in units of the font's size.
    pub width: f32,
}

impl Fonts {
    /// Those that the program was built with; none where it was built without.
    pub fn load() -> Option<Self> {
        Some(Self { regular: Face::load("regular.ttf")?, bold: Face::load("bold.ttf")? })
    }
}

impl Face {
    fn load(name: &str) -> Option<Self> {
        let (_, bytes) = built::FONTS.iter().find(|(file, _)| *file == name)?;
        let bytes: &'static [u8] = bytes;
        Some(Self { font: Font::new(bytes.into(), 0)?, shapes: rustybuzz::Face::from_slice(bytes, 0)? })
    }

    /// Sets a text, from left to right on one line.
    pub fn set(&self, text: &str) -> Run {
        let mut buffer = UnicodeBuffer::new();
        buffer.push_str(text);
        buffer.guess_segment_properties();
        buffer.set_direction(Direction::LeftToRight);
        let shaped = rustybuzz::shape(&self.shapes, &[], buffer);
        let em = self.font.units_per_em();
        // Font units are small whole numbers, which a float holds exactly.
        let scaled = |units: i32| units as f32 / em;
        let (infos, positions) = (shaped.glyph_infos(), shaped.glyph_positions());
        let mut run = Run { glyphs: Vec::with_capacity(infos.len()), width: 0.0 };
        for (index, (info, position)) in infos.iter().zip(positions).enumerate() {
            let start = info.cluster as usize;
            // Glyphs of one cluster stand for the same part of the text.
            let next = infos[index..].iter().find(|other| other.cluster != info.cluster);
            let end = next.map_or(text.len(), |other| other.cluster as usize);
            let advance = scaled(position.x_advance);
            run.glyphs.push(KrillaGlyph::new(
                GlyphId::new(info.glyph_id),
                advance,
                scaled(position.x_offset),
                scaled(position.y_offset),
                scaled(position.y_advance),
                start..end,
                None,
            ));
            run.width += advance;
        }
        run
    }

    /// How wide a text is at this size, points.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        self.set(text).width * size
    }

    /// A text as lines of at most `width` points, broken at blanks, and inside of words that are wider than that.
    pub fn wrap(&self, text: &str, size: f32, width: f32) -> Vec<String> {
        let mut lines = Vec::new();
        for paragraph in text.lines() {
            let mut line = String::new();
            for word in paragraph.split_whitespace() {
                let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
                if self.width(&longer, size) <= width {
                    line = longer;
                    continue;
                }
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line = self.broken(word, size, width, &mut lines);
            }
            lines.push(line);
        }
        lines
    }

    /// Moves what of a word fills whole lines to `lines`; answers the rest.
    fn broken(&self, word: &str, size: f32, width: f32, lines: &mut Vec<String>) -> String {
        let mut rest = String::new();
        for character in word.chars() {
            rest.push(character);
            if self.width(&rest, size) > width && rest.chars().count() > 1 {
                rest.pop();
                lines.push(std::mem::replace(&mut rest, character.to_string()));
            }
        }
        rest
    }
}
