//! What a run is to do.

use crate::model::Image;

/// What a run is to do: words, and images beside them. Text alone is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// The words.
    pub text: String,
    /// What the model is shown with them.
    pub images: Vec<Image>,
}

impl Goal {
    /// A goal in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            images: Vec::new(),
        }
    }

    /// Whether it has neither words nor images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.images.is_empty()
    }

    /// With one more image.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.images.push(image);
        self
    }
}

impl<T: Into<String>> From<T> for Goal {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}
