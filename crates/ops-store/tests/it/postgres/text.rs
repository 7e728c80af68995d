//! What PostgreSQL's own text could not hold, or would put into another order.

use ops_core::ports::TaskFilter;

use super::{Server, open_on};
use crate::world::{TENANT, json};

mod postgres_15 {
    use super::*;

    /// Trap ahead/1.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn keeps_a_u_0000_wherever_a_caller_may_put_it() {
        let world = open_on(Server::Postgres15, |_| {});
        let mut new = world.new_task();
        new.task.name = Some("a\0b".into());
        new.task.agent_id = Some("agent\0".into());
        new.task.concurrency_key = Some("\0key".into());
        new.task.labels = [("l\0".to_owned(), "v\0".to_owned())].into();
        new.task.input = json(r#"{"prompt":"a\u0000b"}"#);
        let asked = new.task.clone();
        let id = world.submit_new(new).await;
        assert_eq!(world.task(id).await.task, asked);
        let session = world.session().await;
        assert_eq!(world.claim(session, 1).await.len(), 1);
        for filter in [
            TaskFilter {
                text: Some("A\0B".into()),
                limit: 10,
                ..Default::default()
            },
            TaskFilter {
                labels: asked.labels.clone(),
                limit: 10,
                ..Default::default()
            },
        ] {
            assert_eq!(world.store.count(TENANT, filter).await, Ok(1));
        }
    }

    /// Trap ahead/69: the cluster sorts as English does.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
    async fn orders_names_by_their_bytes() {
        let world = open_on(Server::Postgres15, |_| {});
        for queue in ["a", "B", "1-1", "11", "b", "é"] {
            let mut new = world.new_task();
            new.task.queue = queue.into();
            world.submit_new(new).await;
        }
        let queues = world.store.ready_queues().await.unwrap();
        assert_eq!(queues, ["1-1", "11", "B", "a", "b", "é"]);
    }
}
