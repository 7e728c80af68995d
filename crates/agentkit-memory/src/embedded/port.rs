//! The store behind the trait: checks, then the work on a thread.

use agentkit::{
    BoxFuture,
    memory::long_term::{
        Added, Fact, Found, LongTermMemory, MemoryError, MemoryStatus, Namespace, NewFact, Page,
        Search, Why,
    },
};

use super::{Embedded, Stored, checked, read, write};

/// The most facts of a page.
const MAX_PAGE: u32 = 1_000;

impl LongTermMemory for Embedded {
    fn add<'a>(
        &'a self,
        namespace: &'a Namespace,
        fact: NewFact,
    ) -> BoxFuture<'a, Result<Added, MemoryError>> {
        Box::pin(async move { self.count(&self.counted.added, self.put(namespace, fact).await) })
    }

    fn get<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Fact, MemoryError>> {
        Box::pin(async move {
            namespace.check()?;
            let (namespace, id) = (namespace.clone(), id.to_owned());
            let opened = self.opened().await?;
            opened
                .threads
                .read(move |connection| read::get(connection, &namespace, &id))
                .await
        })
    }

    fn update<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        fact: NewFact,
    ) -> BoxFuture<'a, Result<Added, MemoryError>> {
        Box::pin(async move {
            namespace.check()?;
            let fact = checked(fact).await?;
            let opened = self.opened().await?;
            let (namespace, id, moment) = (namespace.clone(), id.to_owned(), self.moment());
            let added = opened
                .threads
                .write(move |connection| write::update(connection, &namespace, &id, &fact, moment))
                .await?;
            opened.added.notify_one();
            Ok(added)
        })
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>> {
        Box::pin(self.forgotten(namespace, id, reason, true))
    }

    fn invalidate<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>> {
        Box::pin(self.forgotten(namespace, id, reason, false))
    }

    fn restore<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, MemoryError>> {
        Box::pin(async move {
            namespace.check()?;
            let (namespace, id) = (namespace.clone(), id.to_owned());
            let opened = self.opened().await?;
            let restored = opened
                .threads
                .write(move |connection| write::restore(connection, &namespace, &id))
                .await?;
            opened.added.notify_one();
            Ok(restored)
        })
    }

    fn expire(&self, now_micros: i64) -> BoxFuture<'_, Result<u64, MemoryError>> {
        Box::pin(async move {
            // No file, no fact: a server that keeps none makes none.
            if self.stored() == Stored::Absent {
                return Ok(0);
            }
            let opened = self.opened().await?;
            opened
                .threads
                .write(move |connection| write::expire(connection, now_micros))
                .await
        })
    }

    fn search<'a>(&'a self, search: &'a Search) -> BoxFuture<'a, Result<Found, MemoryError>> {
        Box::pin(async move { self.count(&self.counted.searches, self.find(search).await) })
    }

    fn list<'a>(
        &'a self,
        namespace: &'a Namespace,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Page, MemoryError>> {
        Box::pin(async move {
            namespace.check()?;
            if !(1..=MAX_PAGE).contains(&limit) {
                return Err(MemoryError::Invalid(format!(
                    "the limit of a page is 1 to {MAX_PAGE}"
                )));
            }
            let (namespace, after) = (namespace.clone(), after.map(str::to_owned));
            let opened = self.opened().await?;
            opened
                .threads
                .read(move |connection| read::list(connection, &namespace, after.as_deref(), limit))
                .await
        })
    }

    fn why<'a>(
        &'a self,
        namespace: &'a Namespace,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Why, MemoryError>> {
        Box::pin(async move {
            namespace.check()?;
            let (namespace, id) = (namespace.clone(), id.to_owned());
            let opened = self.opened().await?;
            opened
                .threads
                .read(move |connection| read::why(connection, &namespace, &id))
                .await
        })
    }

    fn status(&self) -> BoxFuture<'_, Result<MemoryStatus, MemoryError>> {
        Box::pin(async move {
            let fingerprint = self
                .options
                .embedder
                .as_ref()
                .map(|one| one.fingerprint().to_owned());
            let opened = self.opened().await?;
            opened
                .threads
                .read(move |connection| read::status(connection, fingerprint.as_deref()))
                .await
        })
    }
}
