//! Lists that come in pages, from servers that may never end them.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    link::LinkError,
    wire::{MAX_ITEMS, METHOD_NOT_FOUND, RpcError},
};

/// Bounds of one list.
const MAX_PAGES: usize = 100;
const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_secs(120);

/// A list of a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listing {
    /// Its items, raw.
    pub(crate) items: Vec<Value>,
    /// Why the list may be incomplete.
    pub(crate) partial: Option<String>,
}

/// All pages. A server that does not know the list has an empty list.
pub(crate) async fn all<F>(
    key: &str,
    mut page: impl FnMut(Option<String>) -> F,
) -> Result<Listing, LinkError>
where
    F: Future<Output = Result<Value, LinkError>>,
{
    let begun = Instant::now();
    let mut listing = Listing::default();
    let mut seen = BTreeSet::new();
    let mut cursor: Option<String> = None;
    let mut bytes = 0;
    let partial = |why: String| Some(format!("the list of `{key}` was cut: {why}"));
    for pages in 0.. {
        let mut result = match page(cursor.clone()).await {
            Ok(result) => result,
            Err(error) if pages == 0 && is_unknown(&error) => return Ok(listing),
            Err(error) if pages == 0 => return Err(error),
            // What is there already is worth having.
            Err(error) => {
                listing.partial = partial(format!("page {} failed: {error}", pages + 1));
                return Ok(listing);
            }
        };
        let Some(Value::Array(items)) = result.get_mut(key).map(Value::take) else {
            listing.partial = partial(format!("page {} has no list `{key}`", pages + 1));
            return Ok(listing);
        };
        let next = result["nextCursor"].as_str().map(str::to_owned);
        // A server that means the end by "" or by its last cursor gives the same page again.
        let is_duplicate =
            pages > 0 && !items.is_empty() && items.iter().all(|item| listing.items.contains(item));
        if is_duplicate {
            listing.partial = match next {
                // As if it had ended there.
                Some(next) if next.is_empty() => None,
                _ => partial("the server gave a page again".to_owned()),
            };
            return Ok(listing);
        }
        bytes += items
            .iter()
            .map(|item| item.to_string().len())
            .sum::<usize>();
        listing.items.extend(items);
        // Also of a list in one page.
        if listing.items.len() > MAX_ITEMS {
            listing.items.truncate(MAX_ITEMS);
            listing.partial = partial(format!("it has more than {MAX_ITEMS} items"));
            return Ok(listing);
        }
        let Some(next) = next else { return Ok(listing) };
        let reason = if bytes > MAX_BYTES {
            Some(format!("it has more than {MAX_BYTES} bytes"))
        } else if pages + 1 >= MAX_PAGES {
            Some(format!("it has more than {MAX_PAGES} pages"))
        } else if begun.elapsed() > MAX_TIME {
            Some(format!("it took more than {MAX_TIME:?}"))
        } else if !seen.insert(next.clone()) && !units::mutant!("agentkit-mcp.endless_pages") {
            Some("the server names a page again that it has given".to_owned())
        } else {
            None
        };
        if let Some(reason) = reason {
            listing.partial = partial(reason);
            return Ok(listing);
        }
        cursor = Some(next);
    }
    Ok(listing)
}

/// Whether a server says that it does not know the method.
fn is_unknown(error: &LinkError) -> bool {
    match error {
        LinkError::Rpc(RpcError { code, .. }) => *code == METHOD_NOT_FOUND,
        LinkError::Refused { rpc: Some(rpc), .. } => rpc.code == METHOD_NOT_FOUND,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    /// A list from what each cursor gives: names, and the next cursor.
    async fn list(pages: &[(Option<&str>, &[&str], Option<&str>)]) -> (Listing, usize) {
        let asked = Cell::new(0);
        let page = |cursor: Option<String>| {
            asked.set(asked.get() + 1);
            assert!(asked.get() < 1_000, "it never ends");
            let found = pages.iter().find(|(at, _, _)| *at == cursor.as_deref());
            let (_, names, next) = found.expect("a page of that cursor");
            let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            let mut result = json!({"tools": items});
            if let Some(next) = next {
                result["nextCursor"] = (*next).into();
            }
            std::future::ready(Ok(result))
        };
        let listing = all("tools", page).await.unwrap();
        (listing, asked.get())
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing
            .items
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect()
    }

    /// ahead-tools/12.
    #[tokio::test]
    async fn pages_that_never_end_end() {
        let (listing, _) = list(&[(None, &["a"], Some("8")), (Some("8"), &["b"], Some("8"))]).await;
        assert_eq!(names(&listing), ["a", "b"]);
        assert!(listing.partial.unwrap().contains("again"));

        let circle: &[(Option<&str>, &[&str], Option<&str>)] = &[
            (None, &["x"], Some("a")),
            (Some("a"), &["y"], Some("b")),
            (Some("b"), &["z"], Some("a")),
        ];
        let (listing, asked) = list(circle).await;
        assert_eq!((names(&listing), asked), (vec!["x", "y", "z"], 3));
        assert!(listing.partial.is_some());

        let (listing, _) = list(&[(None, &["a"], Some("1")), (Some("1"), &["a"], Some("2"))]).await;
        assert_eq!(
            names(&listing),
            ["a"],
            "a page that is given again is not added"
        );
        assert!(listing.partial.is_some());
    }

    /// ahead-tools/12.
    #[tokio::test]
    async fn an_empty_cursor_is_followed_once() {
        let (listing, _) = list(&[(None, &["a"], Some("")), (Some(""), &["b"], None)]).await;
        assert_eq!(names(&listing), ["a", "b"]);
        assert_eq!(listing.partial, None);
        let (listing, asked) =
            list(&[(None, &["a"], Some("")), (Some(""), &["a"], Some(""))]).await;
        assert_eq!((names(&listing), asked), (vec!["a"], 2));
        assert_eq!(listing.partial, None, "it means the end");
    }

    #[tokio::test]
    async fn a_list_has_bounds() {
        let counter = Cell::new(0);
        let page = |_| {
            counter.set(counter.get() + 1);
            let at = counter.get();
            std::future::ready(Ok(
                json!({"tools": [{"name": at}], "nextCursor": at.to_string()}),
            ))
        };
        let listing = all("tools", page).await.unwrap();
        assert_eq!(listing.items.len(), MAX_PAGES);
        assert!(listing.partial.unwrap().contains("100 pages"));
    }

    #[tokio::test]
    async fn a_list_in_one_page_has_the_same_bounds() {
        let tools: Vec<Value> = (0..=MAX_ITEMS).map(|at| json!({"name": at})).collect();
        let page = |_| std::future::ready(Ok(json!({"tools": tools})));
        let listing = all("tools", page).await.unwrap();
        assert_eq!(listing.items.len(), MAX_ITEMS);
        assert!(listing.partial.unwrap().contains("more than 2000 items"));
    }

    #[tokio::test]
    async fn an_answer_without_a_list_says_so() {
        for answer in [json!({"tools": "none"}), json!({}), json!(5)] {
            let listing = all("tools", |_| std::future::ready(Ok(answer.clone()))).await;
            let listing = listing.unwrap();
            assert!(listing.items.is_empty());
            assert!(
                listing
                    .partial
                    .unwrap()
                    .contains("page 1 has no list `tools`")
            );
        }
    }

    /// ahead-tools/26.
    #[tokio::test]
    async fn a_server_that_does_not_know_the_list_has_none() {
        let unknown = RpcError {
            code: METHOD_NOT_FOUND,
            message: "no".to_owned(),
            data: Value::Null,
        };
        let listing = all("prompts", |_| {
            std::future::ready(Err(unknown.clone().into()))
        })
        .await;
        assert_eq!(listing.unwrap(), Listing::default());
        let other = RpcError {
            code: -32603,
            ..unknown
        };
        assert!(
            all("prompts", |_| std::future::ready(Err(other.clone().into())))
                .await
                .is_err()
        );
    }
}
