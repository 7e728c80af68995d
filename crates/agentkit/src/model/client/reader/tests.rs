mod mutations;

use proptest::prelude::*;

use super::*;
use crate::model::{
    NoDeltas,
    client::{ApiSurface, Config, Provider},
};

const SURFACES: [ApiSurface; 4] = [
    ApiSurface::Chat,
    ApiSurface::Responses,
    ApiSurface::Messages,
    ApiSurface::GenerateContent,
];

fn read(surface: ApiSurface, parts: &[&[u8]]) -> String {
    let request = Request::default();
    let mut reader = Reader::new(surface.decoder(), &NoDeltas, &request);
    for part in parts {
        if let Err(decode_error) = reader.push(part) {
            return format!("{decode_error:?}");
        }
    }
    match reader.finish() {
        Ok(builder) => {
            let config = Config::new(Provider::OpenAi, "m");
            format!("{:?}", builder.response(100, &config, None))
        }
        Err(decode_error) => format!("{decode_error:?}"),
    }
}

/// Bytes that are nearly an answer.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let event = |delta: &str| format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let piece = prop_oneof![
        Just(event("{\"content\":\"\u{e4}\u{1f600}\"}")),
        Just(event(
            "{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"x\"}}]}"
        )),
        Just(event(
            "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}"
        )),
        Just(event("{\"tool_calls\":[{\"index\":4294967295}]}")),
        Just("data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\n".to_owned()),
        Just("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"cost\":-1}}\r\r".to_owned()),
        Just("data: [DONE]\n\n".to_owned()),
        Just(": ping\n".to_owned()),
        Just("data: {\"error\":{\"code\":429}}\n\n".to_owned()),
        Just("{\"choices\":[{\"message\":{\"content\":\"x\"}}]}".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n".to_owned()),
        Just("data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n".to_owned()),
        Just("data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\"}}\n\n".to_owned()),
        Just("data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"x\"}}\n\n".to_owned()),
        Just("data: {\"type\":\"message_stop\"}\n\n".to_owned()),
        Just("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"x\"}]},\"finishReason\":\"STOP\"}]}\n\n".to_owned()),
    ];
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    prop::collection::vec(
        prop_oneof![8 => piece.prop_map(String::into_bytes), 1 => noise],
        0..10,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn reads_the_same_however_the_bytes_are_split(
        bytes in nearly(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        for surface in SURFACES {
            prop_assert_eq!(read(surface, &parts), read(surface, &[&bytes]));
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for surface in SURFACES {
            read(surface, &[&bytes]);
            read(surface, &[b"data: ", &bytes]);
            read(surface, &[b"{\"choices\":", &bytes]);
        }
        let _ = Report::read(&bytes).kind(400);
        let _ = Report::read(&bytes).kind_inside();
    }
}
