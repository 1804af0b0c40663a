//! A parameter of a call: what it is called, what values it takes, and what is said of them.
//!
//! One constant serves the reading of requests, the sentences of refusals and the description of the API, so that the
//! three agree. Must not know: the rules themselves, which are the domain's; what is said here of lengths and words is
//! for the description alone.

use bulut_model::Error;

/// What values a parameter takes; for the sentences of refusals and for the description of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One text.
    Text,
    /// One integer.
    Integer,
    /// Texts: an array, or one text with commas.
    List,
    /// Integers: an array, or one text with commas.
    Integers,
    /// A point in time.
    Time,
}

/// What the description says of a parameter's values; of each of them where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Fewest and most characters.
    pub length: Option<(usize, usize)>,
    /// Smallest and largest integer.
    pub range: Option<(i64, i64)>,
    /// Of which number an integer has to be a multiple.
    pub multiple_of: Option<i64>,
    /// Fewest and most values.
    pub count: Option<(usize, usize)>,
    /// The only words that are accepted; where there is a range too, an integer may stand in their place.
    pub words: &'static [&'static str],
    /// A regular expression (ECMA-262) that a text matches.
    pub pattern: Option<&'static str>,
    /// A format as OpenAPI's registry names it.
    pub format: Option<&'static str>,
    /// A value, as it would stand in a form; several with commas.
    pub example: &'static str,
    /// Whether it names a thing of the account, which may not be there.
    pub names_a_thing: bool,
}

impl Facts {
    const NONE: Self = Self {
        length: None,
        range: None,
        multiple_of: None,
        count: None,
        words: &[],
        pattern: None,
        format: None,
        example: "",
        names_a_thing: false,
    };
}

/// A parameter of a call, as the documents describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its names: the documented one first, then what clients send in its place.
    pub names: &'static [&'static str],
    /// What values it takes.
    pub shape: Shape,
    /// What is accepted, to stand behind "send": `the slug of a region as in /v1/region/list`.
    pub accepted: &'static str,
    /// What else the description says.
    pub facts: Facts,
}

impl Param {
    const fn new(names: &'static [&'static str], shape: Shape, accepted: &'static str) -> Self {
        Self { names, shape, accepted, facts: Facts::NONE }
    }

    /// One text.
    pub const fn text(names: &'static [&'static str], accepted: &'static str) -> Self {
        Self::new(names, Shape::Text, accepted)
    }

    /// One integer.
    pub const fn integer(names: &'static [&'static str], accepted: &'static str) -> Self {
        Self::new(names, Shape::Integer, accepted)
    }

    /// Texts.
    pub const fn list(names: &'static [&'static str], accepted: &'static str) -> Self {
        Self::new(names, Shape::List, accepted)
    }

    /// Integers.
    pub const fn integers(names: &'static [&'static str], accepted: &'static str) -> Self {
        Self::new(names, Shape::Integers, accepted)
    }

    /// A point in time.
    pub const fn time(names: &'static [&'static str], accepted: &'static str) -> Self {
        Self::new(names, Shape::Time, accepted)
    }

    /// Each text has so many characters.
    #[must_use]
    pub const fn length(mut self, least: usize, most: usize) -> Self {
        self.facts.length = Some((least, most));
        self
    }

    /// Each integer lies between these.
    #[must_use]
    pub const fn range(mut self, least: i64, most: i64) -> Self {
        self.facts.range = Some((least, most));
        self
    }

    /// Each integer is a multiple of this one.
    #[must_use]
    pub const fn multiple_of(mut self, unit: i64) -> Self {
        self.facts.multiple_of = Some(unit);
        self
    }

    /// There are so many values.
    #[must_use]
    pub const fn count(mut self, least: usize, most: usize) -> Self {
        self.facts.count = Some((least, most));
        self
    }

    /// Each text is one of these.
    #[must_use]
    pub const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.facts.words = words;
        self
    }

    /// Each text matches this regular expression.
    #[must_use]
    pub const fn pattern(mut self, pattern: &'static str) -> Self {
        self.facts.pattern = Some(pattern);
        self
    }

    /// Each text has this format.
    #[must_use]
    pub const fn format(mut self, format: &'static str) -> Self {
        self.facts.format = Some(format);
        self
    }

    /// A value, for example.
    #[must_use]
    pub const fn example(mut self, example: &'static str) -> Self {
        self.facts.example = example;
        self
    }

    /// It names a thing of the account: one that is not there, or somebody else's, is not found.
    #[must_use]
    pub const fn names_a_thing(mut self) -> Self {
        self.facts.names_a_thing = true;
        self
    }

    /// The documented name.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The refusal of a request without it.
    pub(super) fn missing(&self) -> Error {
        let name = self.name();
        Error::invalid(name, format!("The parameter {name} is missing: send {}.", self.accepted))
    }

    /// The refusal of a value that came under this name; `why` stands behind it.
    pub(super) fn wrong(&self, name: &str, why: &str) -> Error {
        Error::invalid(name, format!("The parameter {name} {why}: send {}.", self.accepted))
    }
}
