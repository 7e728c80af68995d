//! What live workers run tasks with.

mod postgres_15 {
    use std::sync::Arc;

    use ops_core::ports::Configuration;
    use ops_testkit::postgres::Server;

    use crate::postgres::open_on;

    #[tokio::test]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn live_workers_say_what_they_run_tasks_with() {
        let world = open_on(Server::Postgres15, |_| {});
        let known = || async {
            let known = world.store.worker_configurations().await.unwrap();
            let policies = known.iter().map(|one| one.parts["policy"].clone());
            policies.collect::<Vec<_>>()
        };
        let describe = |session, policy: &str| {
            let configuration = Configuration {
                process: "machine (process 7)".to_owned(),
                release: "1".to_owned(),
                parts: [("policy".to_owned(), policy.to_owned())].into(),
            };
            world
                .store
                .describe_session(session, Arc::new(configuration))
        };
        let session = world.session().await;
        // A worker of an older release says nothing.
        assert_eq!(known().await, Vec::<String>::new());
        describe(session, "a").await.unwrap();
        assert_eq!(known().await, ["a"]);
        // A reload.
        describe(session, "b").await.unwrap();
        assert_eq!(known().await, ["b"]);
        world.store.close_session(session).await.unwrap();
        assert_eq!(known().await, Vec::<String>::new());
        describe(session, "c").await.unwrap_err();
    }
}
