//! An invoice as PDF: A4, selectable text, the fonts in it, as many pages as it needs.
//!
//! The sheet is first laid out as marks on pages, then the pages are written: only then it is known how many there are.
//! Must not know: what an invoice means.

use super::face::{Face, Fonts};
use super::sheet::{HEADS, Row, Sheet};
use bulut_model::{Error, Result, Timestamp};
use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;

/// A4 in points.
const WIDTH: f32 = 595.28;
const HEIGHT: f32 = 841.89;
const LEFT: f32 = 56.0;
const RIGHT: f32 = WIDTH - 56.0;
const TOP: f32 = 64.0;
/// Below this stands the foot alone.
const BOTTOM: f32 = HEIGHT - 76.0;
const BODY: f32 = 9.5;
const SMALL: f32 = 8.0;
const LEADING: f32 = 13.5;
/// Where the columns of the lines are: the left edges of the first and third, the right edges of the others.
const DESCRIPTION: f32 = LEFT;
const QUANTITY: f32 = 348.0;
const UNIT: f32 = 358.0;
const UNIT_PRICE: f32 = 470.0;
const DESCRIPTION_WIDTH: f32 = 220.0;
const UNIT_WIDTH: f32 = 62.0;

type Colour = (u8, u8, u8);
const INK: Colour = (23, 32, 42);
const GREY: Colour = (74, 87, 99);
const ACCENT: Colour = (11, 110, 110);
const HAIR: Colour = (221, 227, 232);

/// Something on a page.
enum Mark {
    Text { x: f32, y: f32, size: f32, bold: bool, colour: Colour, text: String },
    Rule { from: f32, to: f32, y: f32, thickness: f32, colour: Colour },
}

/// How a text looks.
#[derive(Clone, Copy)]
struct Style {
    size: f32,
    bold: bool,
    colour: Colour,
}

const PLAIN: Style = Style { size: BODY, bold: false, colour: INK };
const FAINT: Style = Style { colour: GREY, ..PLAIN };
const FINE: Style = Style { size: SMALL, ..FAINT };
const STRONG: Style = Style { bold: true, ..PLAIN };

/// The document.
///
/// Errors: `Internal` when the library refuses it.
pub fn document(sheet: &Sheet, fonts: &Fonts, issued_at: Timestamp) -> Result<Vec<u8>> {
    let mut layout = Layout { fonts, sheet, pages: vec![Vec::new()], y: TOP };
    layout.head();
    layout.who();
    layout.lines();
    layout.sums();
    layout.words();
    let pages = layout.pages;
    let mut document = Document::new();
    document.set_metadata(
        Metadata::new()
            .title(sheet.title.clone())
            .authors(vec![sheet.issuer.clone()])
            .creator("bulut".to_owned())
            .language("en".to_owned())
            .creation_date(date_time(issued_at)),
    );
    let count = pages.len();
    for (number, mut marks) in (1..).zip(pages) {
        foot(&mut marks, sheet, fonts, number, count);
        let settings =
            PageSettings::from_wh(WIDTH, HEIGHT).ok_or_else(|| Error::internal("A4 is no page"))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        for mark in &marks {
            draw(&mut surface, fonts, mark);
        }
        surface.finish();
        page.finish();
    }
    document.finish().map_err(|why| Error::internal(format!("a PDF cannot be written: {why:?}")))
}

struct Layout<'a> {
    fonts: &'a Fonts,
    sheet: &'a Sheet,
    pages: Vec<Vec<Mark>>,
    /// The base line of what comes next.
    y: f32,
}

impl Layout<'_> {
    fn put(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn text(&mut self, x: f32, y: f32, style: Style, text: &str) {
        self.put(mark(x, y, style, text));
    }

    fn text_to(&mut self, right: f32, y: f32, style: Style, text: &str) {
        let x = right - face(self.fonts, style.bold).width(text, style.size);
        self.text(x, y, style, text);
    }

    fn rule(&mut self, from: f32, y: f32, thickness: f32, colour: Colour) {
        self.put(Mark::Rule { from, to: RIGHT, y, thickness, colour });
    }

    /// Begins another page unless so much fits on this one.
    fn need(&mut self, height: f32) -> bool {
        if self.y + height <= BOTTOM {
            return false;
        }
        self.pages.push(Vec::new());
        self.y = TOP;
        true
    }

    /// Who wrote it, and what it is.
    fn head(&mut self) {
        let title = Style { size: 18.0, bold: true, colour: INK };
        self.text_to(RIGHT, TOP, title, &self.sheet.title);
        let name = Style { size: 12.5, bold: true, colour: ACCENT };
        let mut y = TOP;
        for line in self.fonts.bold.wrap(&self.sheet.issuer, name.size, 260.0) {
            self.text(LEFT, y, name, &line);
            y += 16.0;
        }
        y = self.block(LEFT, y, 260.0, FAINT, &self.sheet.issuer_lines);
        self.rule(LEFT, y, 1.5, ACCENT);
        self.y = y + 34.0;
    }

    /// Whom it is for, and its number and dates.
    fn who(&mut self) {
        let name = std::slice::from_ref(&self.sheet.recipient);
        let y = self.block(LEFT, self.y, 250.0, STRONG, name);
        let below = self.block(LEFT, y, 250.0, FAINT, &self.sheet.recipient_lines);
        let mut beside = self.y;
        for (name, value) in &self.sheet.facts {
            self.text(340.0, beside, FAINT, name);
            self.text_to(RIGHT, beside, PLAIN, value);
            beside += LEADING + 1.5;
        }
        self.y = below.max(beside) + 28.0;
    }

    /// Lines below each other; answers where the next one would stand.
    fn block(&mut self, x: f32, mut y: f32, width: f32, style: Style, lines: &[String]) -> f32 {
        for line in lines {
            for piece in face(self.fonts, style.bold).wrap(line, style.size, width) {
                self.text(x, y, style, &piece);
                y += LEADING;
            }
        }
        y
    }

    fn column_heads(&mut self) {
        let [description, quantity, unit, unit_price, amount] = HEADS;
        let style = Style { size: SMALL, bold: true, colour: GREY };
        self.text(DESCRIPTION, self.y, style, description);
        self.text_to(QUANTITY, self.y, style, quantity);
        self.text(UNIT, self.y, style, unit);
        self.text_to(UNIT_PRICE, self.y, style, unit_price);
        self.text_to(RIGHT, self.y, style, amount);
        self.y += 6.0;
        self.rule(LEFT, self.y, 0.75, INK);
        self.y += LEADING + 1.0;
    }

    /// What it is for; the heads of the columns stand on each page again.
    fn lines(&mut self) {
        self.need(60.0);
        self.column_heads();
        for row in &self.sheet.rows {
            self.row(row);
        }
    }

    fn row(&mut self, row: &Row) {
        let regular = &self.fonts.regular;
        let described = regular.wrap(&row.description, BODY, DESCRIPTION_WIDTH);
        let details = if row.details.is_empty() {
            Vec::new()
        } else {
            regular.wrap(&row.details, SMALL, DESCRIPTION_WIDTH)
        };
        let units = regular.wrap(&row.unit, BODY, UNIT_WIDTH);
        let height = LEADING * described.len().max(units.len()) as f32 + 11.0 * details.len() as f32;
        if self.need(height) {
            self.column_heads();
        }
        let y = self.y;
        self.text_to(QUANTITY, y, PLAIN, &row.quantity);
        self.text_to(UNIT_PRICE, y, PLAIN, &row.unit_price);
        self.text_to(RIGHT, y, PLAIN, &row.amount);
        let below_units = self.block(UNIT, y, f32::MAX, PLAIN, &units);
        let mut below = self.block(DESCRIPTION, y, f32::MAX, PLAIN, &described);
        for line in details {
            self.text(DESCRIPTION, below - 2.0, FINE, &line);
            below += 11.0;
        }
        self.y = below.max(below_units) - 5.0;
        self.rule(LEFT, self.y, 0.5, HAIR);
        self.y += LEADING + 2.0;
    }

    fn sums(&mut self) {
        self.need(LEADING * self.sheet.sums.len() as f32 + 50.0);
        self.y += 8.0;
        let from = 340.0;
        for (name, value) in &self.sheet.sums {
            self.text(from, self.y, FAINT, name);
            self.text_to(RIGHT, self.y, PLAIN, value);
            self.y += LEADING + 1.5;
        }
        self.y -= 4.0;
        self.rule(from, self.y, 1.25, INK);
        self.y += 18.0;
        let (name, value) = &self.sheet.total;
        let style = Style { size: 12.0, bold: true, colour: INK };
        self.text(from, self.y, style, name);
        self.text_to(RIGHT, self.y, style, value);
        self.y += 40.0;
    }

    /// How it is paid, and what else is to be said.
    fn words(&mut self) {
        let note = self.fonts.regular.wrap(&self.sheet.note, BODY, RIGHT - LEFT);
        self.need(LEADING);
        self.text(LEFT, self.y, STRONG, &self.sheet.payment);
        self.y += LEADING + 5.0;
        for line in note {
            self.need(LEADING);
            self.text(LEFT, self.y, FAINT, &line);
            self.y += LEADING;
        }
    }
}

/// The end of each page: who wrote it, and which page it is.
fn foot(marks: &mut Vec<Mark>, sheet: &Sheet, fonts: &Fonts, number: usize, count: usize) {
    let y = HEIGHT - 48.0;
    marks.push(Mark::Rule { from: LEFT, to: RIGHT, y: y - 14.0, thickness: 0.5, colour: HAIR });
    let page = format!("{} · Page {number} of {count}", sheet.title);
    let width = fonts.regular.width(&page, SMALL);
    marks.push(mark(RIGHT - width, y, FINE, &page));
    let parts: Vec<&str> =
        std::iter::once(sheet.issuer.as_str()).chain(sheet.issuer_lines.iter().map(String::as_str)).collect();
    let lines = fonts.regular.wrap(&parts.join(" · "), SMALL, RIGHT - LEFT - width - 24.0);
    for (line, below) in lines.iter().take(2).zip([0.0, 10.0]) {
        marks.push(mark(LEFT, y + below, FINE, line));
    }
}

fn mark(x: f32, y: f32, style: Style, text: &str) -> Mark {
    Mark::Text { x, y, size: style.size, bold: style.bold, colour: style.colour, text: text.to_owned() }
}

fn face(fonts: &Fonts, bold: bool) -> &Face {
    if bold { &fonts.bold } else { &fonts.regular }
}

fn draw(surface: &mut Surface<'_>, fonts: &Fonts, mark: &Mark) {
    let fill = |(red, green, blue): Colour| {
        Some(Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() })
    };
    match mark {
        Mark::Text { x, y, size, bold, colour, text } => {
            let face = face(fonts, *bold);
            surface.set_fill(fill(*colour));
            let run = face.set(text);
            surface.draw_glyphs(Point::from_xy(*x, *y), &run.glyphs, face.font.clone(), text, *size, false);
        }
        Mark::Rule { from, to, y, thickness, colour } => {
            let mut path = PathBuilder::new();
            if let Some(line) = Rect::from_xywh(*from, *y, to - from, *thickness) {
                path.push_rect(line);
            }
            if let Some(path) = path.finish() {
                surface.set_fill(fill(*colour));
                surface.draw_path(&path);
            }
        }
    }
}

fn date_time(at: Timestamp) -> DateTime {
    let wire = at.wire();
    let part =
        |from: usize, to: usize| wire.get(from..to).and_then(|text| text.parse::<u16>().ok()).unwrap_or(0);
    let small = |from, to| u8::try_from(part(from, to)).unwrap_or(0);
    DateTime::new(part(0, 4))
        .month(small(5, 7))
        .day(small(8, 10))
        .hour(small(11, 13))
        .minute(small(14, 16))
        .second(small(17, 19))
        .utc_offset_hour(0)
        .utc_offset_minute(0)
}
