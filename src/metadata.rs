//! What an entry says about itself beside its events: who asked, and what it belongs to.

use smol_str::SmolStr;

/// Facts about a decision that are not the decision: stored with its entry, and shown by history and feed. The
/// engine never looks at them.
///
/// ```
/// use boxoffice::options::Metadata;
/// let of_request = Metadata::default().with_correlation("req-71").with_user("ada").with("channel", "phone");
/// assert_eq!((of_request.user(), of_request.get("channel")), (Some("ada"), Some("phone")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    correlation: Option<SmolStr>,
    causation: Option<SmolStr>,
    user: Option<SmolStr>,
    pairs: Vec<(SmolStr, SmolStr)>,
}

impl Metadata {
    /// Names what everything that belongs together has in common: a request, an order.
    #[must_use]
    pub fn with_correlation(self, id: impl AsRef<str>) -> Self {
        Self { correlation: Some(SmolStr::new(id)), ..self }
    }

    /// Names what directly led to this: a command's id, a position.
    #[must_use]
    pub fn with_causation(self, id: impl AsRef<str>) -> Self {
        Self { causation: Some(SmolStr::new(id)), ..self }
    }

    /// Names who asked.
    #[must_use]
    pub fn with_user(self, user: impl AsRef<str>) -> Self {
        Self { user: Some(SmolStr::new(user)), ..self }
    }

    /// Adds a pair of your own. A key that is there already gets the new value.
    #[must_use]
    pub fn with(mut self, key: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (key, value) = (key.as_ref(), SmolStr::new(value));
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.pairs.push((SmolStr::new(key), value)),
        }
        self
    }

    /// What everything that belongs together has in common.
    pub fn correlation(&self) -> Option<&str> {
        self.correlation.as_deref()
    }

    /// What directly led to this.
    pub fn causation(&self) -> Option<&str> {
        self.causation.as_deref()
    }

    /// Who asked.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The value of a pair.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All pairs, in the order in which their keys were first given.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// These facts, and those of `over` where both say something.
    pub(crate) fn overlaid(&self, over: &Self) -> Self {
        let text = |theirs: &Option<SmolStr>, mine: &Option<SmolStr>| theirs.clone().or_else(|| mine.clone());
        let base = Self {
            correlation: text(&over.correlation, &self.correlation),
            causation: text(&over.causation, &self.causation),
            user: text(&over.user, &self.user),
            pairs: self.pairs.clone(),
        };
        over.pairs().fold(base, |all, (key, value)| all.with(key, value))
    }

    /// How many bytes all its texts have together.
    pub(crate) fn bytes(&self) -> usize {
        let named = [&self.correlation, &self.causation, &self.user];
        let named: usize = named.into_iter().flatten().map(SmolStr::len).sum();
        named + self.pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }
}
