//! What one source (path, body or query) says about each parameter.
//!
//! Promises: arrays of all spellings (`a[]`, `a[0]`, `a` repeated) end up under the plain name, in their
//! order. Must not know: how the source was encoded.

use std::collections::BTreeMap;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Text; numbers and booleans of JSON are their text.
    Text(String),
    /// What cannot be text; says why, to stand behind the parameter's name. It matters only when a call asks
    /// for this parameter, since unknown ones are ignored.
    Damaged(&'static str),
}

/// The values of one parameter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The values, in their order.
    pub items: Vec<Item>,
    /// Whether it was written as an array, rather than as one value that may have been repeated.
    pub is_list: bool,
    /// The index that each value was written with (`a[7]`), as long as all of them were.
    indexes: Vec<u64>,
}

impl Given {
    /// Whether there is more than empty text.
    pub fn is_something(&self) -> bool {
        self.items.iter().any(|item| !matches!(item, Item::Text(text) if text.is_empty()))
    }
}

/// The parameters of one source by their plain names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer(BTreeMap<String, Given>);

impl Layer {
    /// What it says about a parameter.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// Adds a value under a name that may carry brackets: `tags`, `tags[]`, `tags[0]`.
    pub fn push(&mut self, name: &str, item: Item) {
        let Some((plain, index)) = brackets(name) else {
            self.0.entry(name.to_owned()).or_default().items.push(item);
            return;
        };
        let given = self.0.entry(plain.to_owned()).or_default();
        given.is_list = true;
        given.items.push(item);
        if let Ok(index) = index.parse() {
            given.indexes.push(index);
        }
    }

    /// All it says, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.0.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// Sets all values of an array.
    pub fn put_list(&mut self, name: &str, items: Vec<Item>) {
        self.0.insert(name.to_owned(), Given { items, is_list: true, indexes: Vec::new() });
    }

    /// With names as they were meant: in small letters, without blanks around them and without what is left of a URL that
    /// was glued together wrongly (`?key`, `amp;key`). What was written rightly counts before what was not.
    #[must_use]
    pub fn forgiven(self) -> Self {
        let meant = |name: &str| {
            let name = name.trim().trim_start_matches('?');
            name.strip_prefix("amp;").unwrap_or(name).trim().to_ascii_lowercase()
        };
        let (mut right, wrong): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.0.into_iter().partition(|(name, given)| meant(name) == *name && given.is_something());
        for (name, given) in wrong {
            right.entry(meant(&name)).or_insert(given);
        }
        Self(right)
    }

    /// Puts arrays that were written with indexes into the order of these. To be called once, at the end.
    pub fn settle(&mut self) {
        for given in self.0.values_mut() {
            let indexes = std::mem::take(&mut given.indexes);
            if indexes.len() == given.items.len() {
                let mut numbered: Vec<_> =
                    indexes.into_iter().zip(std::mem::take(&mut given.items)).collect();
                numbered.sort_by_key(|(index, _)| *index);
                given.items = numbered.into_iter().map(|(_, item)| item).collect();
            }
        }
    }
}

/// Splits `tags[0]` into `tags` and `0`. What stands behind the first pair of brackets does not matter.
fn brackets(name: &str) -> Option<(&str, &str)> {
    let (plain, rest) = name.split_once('[')?;
    let (index, _) = rest.split_once(']')?;
    (!plain.is_empty()).then_some((plain, index))
}
