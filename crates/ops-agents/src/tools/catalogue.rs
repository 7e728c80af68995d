//! Every source with the last list of its tools.
//!
//! The catalogue lists each source beside the tasks, again when the source reports a change, and again
//! after a while if the source failed. A run that begins takes the lists as they are and is pinned to them:
//! a later list concerns later runs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentkit::{
    Tool,
    event::Failure,
    run::PinnedTool,
    tool::{Registry, RegistryBuilder, RegistryError},
};
use futures_util::future::join_all;
use ops_core::TenantId;
use tokio::sync::watch;

use super::{Health, Pins, SourceContext, ToolSource, Wanted, held::Held};

/// Delays before a source that failed is asked again.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Selections that are kept of a generation.
const KEEP: usize = 64;

/// The sources of tools.
pub struct Catalogue {
    sources: Vec<Listed>,
    start_timeout: Duration,
    /// Counts lists that replaced others, of any source.
    generation: Arc<AtomicU64>,
    /// All tools of a tenant, compiled once for each generation.
    whole: Mutex<HashMap<TenantId, Arc<Whole>>>,
}

/// A source and its lists by tenant.
struct Listed {
    source: Arc<dyn ToolSource>,
    lists: Mutex<HashMap<TenantId, watch::Receiver<List>>>,
}

/// The last list of a source.
#[derive(Clone)]
enum List {
    /// The source has no list yet.
    Never,
    /// These tools.
    Tools(Arc<[Arc<dyn Tool>]>),
}

/// The tools of every source, compiled.
struct Whole {
    generation: u64,
    registry: Registry,
    /// Source and digest by the tool's name.
    tools: BTreeMap<String, (usize, String)>,
    /// Selections of earlier runs: most runs begin with the tools of an earlier run.
    selections: Mutex<HashMap<Selector, Arc<Selection>>>,
}

/// The terms that a run selects by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Selector {
    wanted: Option<Vec<Wanted>>,
    always: &'static [&'static str],
    without: &'static [&'static str],
}

/// The tools of one run.
#[derive(Clone)]
pub(crate) struct Selection {
    pub(crate) registry: Registry,
    /// The tools of sources that are not built in, by source: a resumed run waits for these sources.
    pub(crate) sources: BTreeMap<String, Vec<String>>,
    pub(crate) pins: Arc<Pins>,
}

/// Sources that cannot be used together.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A name that no agent could write.
    #[error("the tool source `{0}` has no valid name: use 1 to 64 of a-z, 0-9, `_` and `-`")]
    Name(String),
    /// Two sources of one name.
    #[error("two tool sources are named `{0}`; rename one")]
    Twice(String),
    /// A tool that is there from the start cannot be registered.
    #[error("tool source `{source_name}`")]
    Tool {
        /// The source.
        source_name: String,
        /// The mistake in the tool.
        #[source]
        source: RegistryError,
    },
}

/// A tool as it is listed.
#[derive(Debug, Clone)]
pub struct ListedTool {
    /// Its source.
    pub source: String,
    /// The tool's specification.
    pub spec: Arc<agentkit::ToolSpec>,
}

/// A source as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// Health of the source.
    pub health: Health,
    /// Number of tools; `None` if the source was never listed.
    pub tools: Option<usize>,
}

impl Catalogue {
    /// These sources. Where two have a tool of one name, the source that comes first has it.
    ///
    /// # Errors
    /// Sources without a name of their own, and fixed tools that cannot be registered.
    pub fn new(
        sources: Vec<Arc<dyn ToolSource>>,
        start_timeout: Duration,
    ) -> Result<Self, CatalogueError> {
        let mut names = BTreeSet::new();
        let mut fixed = Registry::builder();
        for source in &sources {
            let name = source.name();
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                return Err(CatalogueError::Name(name.to_owned()));
            }
            if !names.insert(name.to_owned()) {
                return Err(CatalogueError::Twice(name.to_owned()));
            }
            for tool in source.fixed().into_iter().flatten() {
                fixed.register(tool).map_err(|error| CatalogueError::Tool {
                    source_name: name.to_owned(),
                    source: error,
                })?;
            }
        }
        let listed = |source| Listed {
            source,
            lists: Mutex::default(),
        };
        Ok(Self {
            sources: sources.into_iter().map(listed).collect(),
            start_timeout,
            generation: Arc::default(),
            whole: Mutex::default(),
        })
    }

    /// Begins to list the sources for a tenant, so that its first run finds them listed. Needs a runtime
    /// if a source is not fixed.
    pub fn start(&self, tenant: TenantId) {
        for listed in &self.sources {
            drop(listed.list(tenant, &self.generation));
        }
    }

    /// Ends the listing of the sources, for a process that ends.
    pub fn stop(&self) {
        for listed in &self.sources {
            let mut lists = listed.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.clear();
        }
    }

    /// Every tool of a tenant by its last list, in the order of the names.
    #[must_use]
    pub fn listed(&self, tenant: TenantId) -> Vec<ListedTool> {
        let whole = self.whole(tenant);
        let specs = whole.registry.specs().into_iter();
        specs
            .map(|spec| ListedTool {
                source: self.source_of(&whole, &spec.name).to_owned(),
                spec,
            })
            .collect()
    }

    /// Why a tool of a tenant may not be called, if a person has to approve its definition first.
    pub(crate) fn why_held(&self, tenant: TenantId, tool: &str) -> Option<String> {
        self.whole(tenant).registry.held().get(tool).cloned()
    }

    /// How the sources are.
    #[must_use]
    pub fn states(&self, tenant: TenantId) -> Vec<SourceState> {
        let state = |listed: &Listed| SourceState {
            name: listed.source.name().to_owned(),
            health: listed.source.health(),
            tools: match &*listed.list(tenant, &self.generation).borrow() {
                List::Never => None,
                List::Tools(tools) => Some(tools.len()),
            },
        };
        self.sources.iter().map(state).collect()
    }

    /// The names of the sources, and whether each was ever listed.
    pub(crate) fn sources(&self, tenant: TenantId) -> Vec<(&str, bool)> {
        let listed = |listed: &Listed| {
            let list = listed.list(tenant, &self.generation);
            let known = matches!(&*list.borrow(), List::Tools(_));
            known
        };
        let sources = self.sources.iter();
        sources
            .map(|one| (one.source.name(), listed(one)))
            .collect()
    }

    /// The tools of a run that begins, by the last lists: all tools but those given by name only, or the wanted
    /// tools. `always` are tools that the run gets in any case, `without` sources that give it no tool.
    pub(crate) fn select(
        &self,
        tenant: TenantId,
        wanted: Option<Vec<Wanted>>,
        always: &'static [&'static str],
        without: &'static [&'static str],
    ) -> Result<Arc<Selection>, Failure> {
        let whole = self.whole(tenant);
        let selector = Selector {
            wanted,
            always,
            without,
        };
        let kept = || {
            let kept = whole.selections.lock();
            kept.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(selection) = kept().get(&selector) {
            return Ok(Arc::clone(selection));
        }
        let wanted = selector.wanted.as_deref();
        let takes = |name: &str| match wanted {
            _ if without.contains(&self.source_of(&whole, name)) => false,
            None => {
                let source = whole.tools.get(name).map(|(source, _)| *source);
                source.is_none_or(|source| !self.sources[source].source.is_by_name_only())
            }
            Some(_) if always.contains(&name) => true,
            Some(wanted) => {
                let source = self.source_of(&whole, name);
                wanted.iter().any(|one| one.takes(source, name))
            }
        };
        let names = whole.tools.keys().filter(|name| takes(name));
        let names: Vec<&String> = names.collect();
        let selection = Arc::new(self.selection(&whole, &names)?);
        let mut kept = kept();
        if kept.len() >= KEEP {
            kept.clear();
        }
        kept.insert(selector, Arc::clone(&selection));
        Ok(selection)
    }

    /// The tools of a run that goes on: its pinned tools. A tool that no longer exists is left out, and a
    /// tool with another definition is held.
    pub(crate) fn pinned(
        &self,
        tenant: TenantId,
        tools: &[PinnedTool],
    ) -> Result<Selection, Failure> {
        let whole = self.whole(tenant);
        let there = tools
            .iter()
            .filter(|tool| whole.tools.contains_key(&tool.name));
        let names: Vec<&String> = there.clone().map(|tool| &tool.name).collect();
        let mut selection = self.selection(&whole, &names)?;
        for tool in there {
            let (source, digest) = &whole.tools[&tool.name];
            if self.sources[*source].source.is_built_in() || *digest == tool.digest {
                continue;
            }
            if let Some(changed) = whole.registry.get(&tool.name) {
                let held = selection.registry.replace(Held::of(changed));
                selection.registry = held.map_err(broken)?;
            }
        }
        selection.pins = Arc::new(Pins::new(tools, &selection.registry));
        Ok(selection)
    }

    fn selection(&self, whole: &Whole, names: &[&String]) -> Result<Selection, Failure> {
        let mut sources: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut tools = Vec::with_capacity(names.len());
        for name in names {
            let (source, digest) = &whole.tools[*name];
            let source = &self.sources[*source].source;
            if !source.is_built_in() {
                let own = sources.entry(source.name().to_owned()).or_default();
                own.push((*name).clone());
            }
            tools.push(PinnedTool {
                name: (*name).clone(),
                digest: digest.clone(),
            });
        }
        let registry = whole.registry.subset(names).map_err(broken)?;
        let pins = Arc::new(Pins::new(&tools, &registry));
        Ok(Selection {
            registry,
            sources,
            pins,
        })
    }

    fn source_of(&self, whole: &Whole, tool: &str) -> &str {
        let source = whole.tools.get(tool).map(|(source, _)| *source);
        source.map_or("", |source| self.sources[source].source.name())
    }

    /// Waits until each of these sources was listed once.
    ///
    /// # Errors
    /// `tool_source_unavailable` if a source has no list in time, or does not exist.
    pub(crate) async fn wait_for(
        &self,
        tenant: TenantId,
        names: &BTreeSet<&str>,
    ) -> Result<(), Failure> {
        let mut waits = Vec::new();
        for name in names {
            let Some(listed) = self.sources.iter().find(|one| one.source.name() == *name) else {
                let known = self.sources.iter().map(|one| one.source.name());
                let known: Vec<&str> = known.collect();
                let hint = units::nearest::hint(name, known);
                let name: String = name.chars().take(80).collect();
                return Err(Failure::last(
                    "tool_source_unavailable",
                    format!("there is no tool source `{name}`; {hint}"),
                ));
            };
            let mut list = listed.list(tenant, &self.generation);
            if matches!(&*list.borrow(), List::Tools(_)) {
                continue;
            }
            waits.push(async move {
                let listed_once = list.wait_for(|list| matches!(list, List::Tools(_)));
                let waited = tokio::time::timeout(self.start_timeout, listed_once).await;
                match waited {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(self.unavailable(listed)),
                }
            });
        }
        join_all(waits).await.into_iter().collect()
    }

    fn unavailable(&self, listed: &Listed) -> Failure {
        let why = match listed.source.health() {
            Health::Away { message } => format!(": {message}"),
            Health::Starting => ": it has not answered yet".to_owned(),
            Health::Ready => String::new(),
        };
        Failure::passing(
            "tool_source_unavailable",
            format!(
                "the tool source `{}`, which the agent names, gave no tools within {} s{why}",
                listed.source.name(),
                self.start_timeout.as_secs_f64()
            ),
        )
    }

    /// The tools of every source by the last lists.
    fn whole(&self, tenant: TenantId) -> Arc<Whole> {
        // Read first: a list that comes while the lists are read makes the next call compile again.
        let generation = self.generation.load(Ordering::SeqCst);
        let mut all = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(whole) = all
            .get(&tenant)
            .filter(|whole| whole.generation == generation)
        {
            return Arc::clone(whole);
        }
        let mut registry = Registry::builder();
        let mut tools = BTreeMap::new();
        let mut held = BTreeMap::new();
        for (index, listed) in self.sources.iter().enumerate() {
            let list = listed.list(tenant, &self.generation).borrow().clone();
            let List::Tools(list) = list else { continue };
            held.extend(listed.source.held());
            for tool in list.iter() {
                let name = tool.spec().name.clone();
                match register(&mut registry, tool) {
                    Ok(digest) => {
                        tools.insert(name, (index, digest));
                    }
                    Err(error) => {
                        let source = listed.source.name();
                        tracing::warn!(source, tool = name, %error, "the tool is left out");
                    }
                }
            }
        }
        let whole = Arc::new(Whole {
            generation,
            registry: registry.build().holding(held),
            tools,
            selections: Mutex::default(),
        });
        all.insert(tenant, Arc::clone(&whole));
        whole
    }
}

fn register(registry: &mut RegistryBuilder, tool: &Arc<dyn Tool>) -> Result<String, RegistryError> {
    registry.register(Arc::clone(tool))?;
    Ok(tool.spec().digest())
}

fn broken(error: RegistryError) -> Failure {
    Failure::last("invalid_agent", error.to_string())
}

impl Listed {
    /// The list for a tenant; listing begins with the first call.
    fn list(&self, tenant: TenantId, generation: &Arc<AtomicU64>) -> watch::Receiver<List> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get(&tenant) {
            return list.clone();
        }
        let (sender, list) = watch::channel(match self.source.fixed() {
            Some(tools) => List::Tools(tools.into()),
            None => List::Never,
        });
        if self.source.fixed().is_none() {
            let source = Arc::clone(&self.source);
            let generation = Arc::clone(generation);
            tokio::spawn(keep_listing(
                source,
                SourceContext { tenant },
                sender,
                generation,
            ));
        }
        lists.insert(tenant, list.clone());
        list
    }
}

/// Lists a source until the catalogue is gone.
async fn keep_listing(
    source: Arc<dyn ToolSource>,
    context: SourceContext,
    lists: watch::Sender<List>,
    generation: Arc<AtomicU64>,
) {
    let mut delay = FIRST_RETRY;
    loop {
        // The end comes first: what a source says while the process ends is no news.
        let listed = tokio::select! {
            biased;
            () = lists.closed() => return,
            listed = source.tools(&context) => listed,
        };
        match listed {
            Ok(tools) => {
                delay = FIRST_RETRY;
                lists.send_replace(List::Tools(tools.into()));
                generation.fetch_add(1, Ordering::SeqCst);
                tokio::select! {
                    () = source.changed() => {}
                    () = lists.closed() => return,
                }
            }
            Err(error) => {
                tracing::warn!(source = source.name(), %error, "the tool source has no list");
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = source.changed() => {}
                    () = lists.closed() => return,
                }
                delay = (delay * 2).min(LAST_RETRY);
            }
        }
    }
}
