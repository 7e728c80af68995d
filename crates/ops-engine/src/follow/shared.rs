//! One value for many readers, with the views that the readers make.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

/// A value for many followers. A surface makes each view, such as the value's text on the wire, once for
/// all of them.
pub struct Shared<T> {
    value: T,
    /// At most one view of each type.
    views: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
}

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value,
            views: Mutex::default(),
        }
    }

    /// A view of the value, made by the first caller of this type. The type belongs to one surface; a clone
    /// of the view costs little.
    pub fn view<V>(&self, make: impl FnOnce(&T) -> V) -> V
    where
        V: Clone + Send + Sync + 'static,
    {
        // Held while the view is made: a hundred followers that are woken at once make one.
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let made = views.iter().find_map(|view| view.downcast_ref::<V>());
        if let Some(made) = made {
            return made.clone();
        }
        let made = make(&self.value);
        views.push(Box::new(made.clone()));
        made
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_view_is_made_once() {
        #[derive(Clone, PartialEq, Debug)]
        struct Text(String);
        #[derive(Clone, PartialEq, Debug)]
        struct Double(u32);

        let shared = Shared::new(21_u32);
        assert_eq!(
            shared.view(|number| Text(number.to_string())),
            Text("21".to_owned())
        );
        assert_eq!(shared.view(|number| Double(number * 2)), Double(42));
        let again: Text = shared.view(|_| unreachable!("it was made"));
        assert_eq!(again, Text("21".to_owned()));
        assert_eq!(shared.views.lock().unwrap().len(), 2);
        assert_eq!(*shared, 21);
    }
}
