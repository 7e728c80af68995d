//! The page of the messages, made from the descriptors and their comments.

use std::fmt::Write as _;

use ops_proto::DESCRIPTORS;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};

/// `OPSPAWN_BLESS=1 cargo test` writes the page anew.
#[test]
fn the_reference_is_that_of_the_messages() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grpc-reference.md");
    let page = page();
    if std::env::var_os("OPSPAWN_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stands == page,
        "docs/grpc-reference.md is not that of the messages; OPSPAWN_BLESS=1 writes it anew"
    );
}

/// The numbers and names that clients of version 1 were made with.
#[test]
fn the_messages_of_version_1_never_change() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let fields = |name: &str| {
        let message = pool
            .get_message_by_name(&format!("ops_core.proto.{name}"))
            .unwrap();
        let fields = message.fields().map(|field| {
            let many = if field.is_list() { "*" } else { "" };
            format!("{}={}{many} {}", field.number(), kind(&field), field.name())
        });
        fields.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        fields("Task"),
        "1=string task_id, 2=string task_type, 3=TaskStatus status, 4=google.protobuf.Struct input_data, \
         5=google.protobuf.Struct result, 6=google.protobuf.Timestamp created_at, \
         7=google.protobuf.Timestamp updated_at, 8=google.protobuf.Timestamp started_at, \
         9=google.protobuf.Timestamp completed_at, 10=string error_message"
    );
    assert_eq!(
        fields("CreateTaskRequest"),
        "1=string task_type, 2=google.protobuf.Struct input_data"
    );
    for name in ["CreateTaskResponse", "GetTaskResponse"] {
        assert_eq!(fields(name), "1=Task task");
    }
    assert_eq!(fields("GetTaskRequest"), "1=string task_id");
    assert_eq!(fields("ListTasksRequest"), "");
    assert_eq!(fields("ListTasksResponse"), "1=Task* tasks, 2=int32 total");
    let status = pool.get_enum_by_name("ops_core.proto.TaskStatus").unwrap();
    let values = status
        .values()
        .map(|value| format!("{}={}", value.name(), value.number()));
    assert_eq!(
        values.collect::<Vec<_>>(),
        [
            "TASK_STATUS_UNSPECIFIED=0",
            "PENDING=1",
            "RUNNING=2",
            "COMPLETED=3",
            "FAILED=4",
            "CANCELLED=5"
        ]
    );
    let service = pool
        .get_service_by_name("ops_core.proto.TaskService")
        .unwrap();
    let methods = service.methods().map(|method| {
        assert!(!method.is_client_streaming() && !method.is_server_streaming());
        format!(
            "{}({}) {}",
            method.name(),
            method.input().name(),
            method.output().name()
        )
    });
    assert_eq!(
        methods.collect::<Vec<_>>(),
        [
            "CreateTask(CreateTaskRequest) CreateTaskResponse",
            "GetTask(GetTaskRequest) GetTaskResponse",
            "ListTasks(ListTasksRequest) ListTasksResponse",
        ]
    );
}

fn page() -> String {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let mut page = String::from(
        "# Reference of gRPC\n\nServices and messages, made from the `.proto` files. [grpc.md](grpc.md) says how to use \
         them.\n",
    );
    for name in ["opspawn/v1/opspawn.proto", "ops_core/tasks.proto"] {
        let file = pool.get_file_by_name(name).unwrap();
        let package = file.package_name();
        writeln!(page, "\n## `{package}`").unwrap();
        for service in file.services() {
            let text = comment(&file, service.path());
            writeln!(page, "\n### {}\n\n{text}\n", service.name()).unwrap();
            page.push_str("| Method | Request | Answer | What |\n| --- | --- | --- | --- |\n");
            for method in service.methods() {
                let stream = if method.is_server_streaming() {
                    "stream of "
                } else {
                    ""
                };
                writeln!(
                    page,
                    "| `{}` | `{}` | {stream}`{}` | {} |",
                    method.name(),
                    method.input().name(),
                    method.output().name(),
                    comment(&file, method.path())
                )
                .unwrap();
            }
        }
        for message in file.messages() {
            write_message(&mut page, &file, &message);
        }
        for kind in file.enums() {
            write_enum(&mut page, &file, &kind);
        }
    }
    page
}

fn write_message(page: &mut String, file: &FileDescriptor, message: &MessageDescriptor) {
    if message.is_map_entry() {
        return;
    }
    let package = format!("{}.", file.package_name());
    let name = message.full_name().trim_start_matches(&package);
    writeln!(page, "\n### `{name}`\n\n{}", comment(file, message.path())).unwrap();
    if message.fields().len() > 0 {
        page.push_str("\n| Field | Number | Type | What |\n| --- | --- | --- | --- |\n");
    }
    for field in message.fields() {
        let label = match (field.is_map(), field.is_list(), optional(&field)) {
            (false, true, _) => "repeated ",
            (false, false, true) => "optional ",
            _ => "",
        };
        writeln!(
            page,
            "| `{}` | {} | {label}`{}` | {} |",
            field.name(),
            field.number(),
            kind(&field),
            comment(file, field.path())
        )
        .unwrap();
    }
    for inner in message.child_messages() {
        write_message(page, file, &inner);
    }
}

fn write_enum(page: &mut String, file: &FileDescriptor, kind: &EnumDescriptor) {
    let text = comment(file, kind.path());
    writeln!(page, "\n### `{}`\n\n{text}\n", kind.name()).unwrap();
    page.push_str("| Value | Number | What |\n| --- | --- | --- |\n");
    for value in kind.values() {
        let text = comment(file, value.path());
        writeln!(page, "| `{}` | {} | {text} |", value.name(), value.number()).unwrap();
    }
}

fn optional(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().proto3_optional()
}

fn kind(field: &FieldDescriptor) -> String {
    if let Kind::Message(entry) = field.kind()
        && entry.is_map_entry()
    {
        let value = kind(&entry.map_entry_value_field());
        return format!("map<string, {value}>");
    }
    match field.kind() {
        Kind::Message(message)
            if message.package_name() != field.parent_message().package_name() =>
        {
            message.full_name().to_owned()
        }
        Kind::Message(message) => message.name().to_owned(),
        Kind::Enum(kind) => kind.name().to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The comment before a declaration, in one line. Every declaration has one.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file
        .file_descriptor_proto()
        .source_code_info
        .as_ref()
        .unwrap();
    let location = info.location.iter().find(|location| location.path == path);
    let text = location.map(|location| location.leading_comments().trim().replace('\n', " "));
    let text = text.unwrap_or_default();
    assert!(!text.is_empty(), "{} {path:?} has no comment", file.name());
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
