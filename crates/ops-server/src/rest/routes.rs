//! The routes and their document, made together. `routes!` takes only handlers that carry
//! `#[utoipa::path]`, and that attribute alone says where a handler is: what is served is documented,
//! and what is documented is served.

use std::sync::Arc;

use axum::Router;
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder,
        path::{Operation, PathItem},
    },
};
use utoipa_axum::router::UtoipaMethodRouter;

use super::App;
use crate::problem::Refusal;

const DESCRIPTION: &str = "Opspawn runs LLM agents as durable tasks. Every path is also served with \
    a slash at its end, and HEAD wherever GET is. Unknown fields and query parameters are refused; \
    a field that is `null` counts as missing. Times are RFC 3339 in UTC with milliseconds. Answers \
    may gain fields.";

/// Routes in the making.
pub(super) struct Routes {
    router: Router<Arc<App>>,
    document: OpenApi,
}

impl Routes {
    /// None yet, in the document of a release.
    pub(super) fn new(version: &str) -> Self {
        let info = InfoBuilder::new()
            .title("Opspawn")
            .version(version)
            .description(Some(DESCRIPTION))
            .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
            .build();
        let mut document = OpenApiBuilder::new().info(info).build();
        let mut problem = Vec::new();
        Refusal::schemas(&mut problem);
        problem.push((Refusal::name().into(), Refusal::schema()));
        let components = document.components.get_or_insert_default();
        components.schemas.extend(problem);
        Self {
            router: Router::new(),
            document,
        }
    }

    /// Adds the handlers of one path, with and without a slash at its end.
    pub(super) fn add(
        mut self,
        (schemas, mut paths, methods): UtoipaMethodRouter<Arc<App>>,
    ) -> Self {
        for path in paths.paths.keys() {
            self.router = self
                .router
                .route(path, methods.clone())
                .route(&format!("{path}/"), methods.clone());
        }
        paths.paths.values_mut().for_each(refusals);
        self.document.paths.merge(paths);
        let components = self.document.components.get_or_insert_default();
        components.schemas.extend(schemas);
        self
    }

    /// The routes, and the answers that `/openapi.json` answers.
    pub(super) fn finish(self) -> (Router<Arc<App>>, OpenApi) {
        (self.router, self.document)
    }
}

/// Every operation of a path may be refused with a problem.
fn refusals(path: &mut PathItem) {
    for operation in operations(path) {
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(Refusal::name())))
            .build();
        let refused = ResponseBuilder::new()
            .description("Refused: `code` says why, `fix` how to mend it.")
            .content("application/problem+json", problem)
            .build();
        let answers = &mut operation.responses.responses;
        answers.insert("default".to_owned(), refused.into());
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut path.get,
        &mut path.put,
        &mut path.post,
        &mut path.delete,
        &mut path.patch,
    ]
    .into_iter()
    .flatten()
}
