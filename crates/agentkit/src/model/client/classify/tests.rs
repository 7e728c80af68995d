use ModelErrorKind::{
    Conflict, ContentFilter, ContextOverflow, InvalidRequest, NotFound, QuotaExceeded, RateLimited,
    ServerError, Unauthorized,
};

use super::*;

#[test]
fn every_documented_failure_has_its_kind() {
    let table = [
        (
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#,
            InvalidRequest,
        ),
        (
            400,
            r#"{"error":{"code":"context_length_exceeded"}}"#,
            ContextOverflow,
        ),
        (
            400,
            r#"{"error":{"code":400,"type":"exceed_context_size_error"}}"#,
            ContextOverflow,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","code":400}"#,
            ContextOverflow,
        ),
        (400, r#"{"error":{"code":"content_filter"}}"#, ContentFilter),
        (
            400,
            r#"{"error":{"code":"content_policy_violation"}}"#,
            ContentFilter,
        ),
        (400, r#"{"error":{"code":"model_not_found"}}"#, NotFound),
        (
            400,
            r#"[{"error":{"code":400,"status":"API_KEY_INVALID"}}]"#,
            Unauthorized,
        ),
        (401, r#"{"error":{"code":"invalid_api_key"}}"#, Unauthorized),
        (401, "no", Unauthorized),
        (402, "", QuotaExceeded),
        (403, "<html>", Unauthorized),
        (
            403,
            r#"{"error":{"code":403,"metadata":{"reasons":["x"]}}}"#,
            ContentFilter,
        ),
        (404, r#"{"error":{"code":"model_not_found"}}"#, NotFound),
        (404, r#"{"error":"model 'x' not found"}"#, NotFound),
        (408, "", Conflict),
        (409, "", Conflict),
        (413, "too large", ContextOverflow),
        (418, "", InvalidRequest),
        (
            422,
            r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
            InvalidRequest,
        ),
        (429, "", RateLimited),
        (
            429,
            r#"{"error":{"code":"rate_limit_exceeded","type":"tokens"}}"#,
            RateLimited,
        ),
        (
            429,
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#,
            RateLimited,
        ),
        (
            429,
            r#"{"error":{"code":"insufficient_quota"}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"type":"insufficient_quota","code":null}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"code":"billing_hard_limit_reached"}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"code":"billing_not_active"}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"code":"project_spend_limit_reached"}}"#,
            QuotaExceeded,
        ),
        (
            500,
            r#"{"error":{"code":"insufficient_quota"}}"#,
            ServerError,
        ),
        (500, "", ServerError),
        (501, "", ServerError),
        (502, "<html>", ServerError),
        (503, r#"{"error":{"code":"slow_down"}}"#, ServerError),
        (504, "", ServerError),
        (520, "", ServerError),
        (524, "", ServerError),
        (529, r#"{"error":{"type":"overloaded_error"}}"#, ServerError),
        (599, "", ServerError),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            ContextOverflow,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
            QuotaExceeded,
        ),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            Unauthorized,
        ),
        (
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
            NotFound,
        ),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
            RateLimited,
        ),
        (
            400,
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            Unauthorized,
        ),
        (
            400,
            r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}"#,
            ContextOverflow,
        ),
        (
            429,
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerMinutePerProject"}]}]}}"#,
            RateLimited,
        ),
        (302, "", InvalidRequest),
        (407, "", InvalidRequest),
        // Groq: the tokens of a minute, of which the request needs more than there are at the moment.
        (
            413,
            r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 5000, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            RateLimited,
        ),
        // And more than there ever are.
        (
            413,
            r#"{"error":{"message":"Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7123, please reduce your message size and try again.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"message":"Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 45000.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            QuotaExceeded,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 4500.","code":"rate_limit_exceeded"}}"#,
            RateLimited,
        ),
        (
            429,
            r#"{"error":{"message":"Insufficient balance or no resource package. Please recharge.","code":"1113"}}"#,
            QuotaExceeded,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}"#,
            QuotaExceeded,
        ),
        (
            400,
            r#"{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."}"#,
            InvalidRequest,
        ),
        (
            400,
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***."}"#,
            Unauthorized,
        ),
        (
            500,
            "data: {\"error\":{\"message\":\"crashed\",\"code\":500}}\n\ndata: [DONE]\n\n",
            ServerError,
        ),
    ];
    for (status, body, kind) in table {
        assert_eq!(
            Report::read(body.as_bytes()).kind(status),
            kind,
            "{status} {body}"
        );
    }
}

#[test]
fn a_failure_inside_an_answer_has_its_kind() {
    let table = [
        (r#"{"code":429}"#, RateLimited),
        (r#"{"code":402}"#, QuotaExceeded),
        (r#"{"code":502,"message":"upstream"}"#, ServerError),
        (r#"{"code":"insufficient_quota"}"#, QuotaExceeded),
        (r#"{"code":"rate_limit_exceeded"}"#, RateLimited),
        (r#"{"code":"context_length_exceeded"}"#, ContextOverflow),
        (r#"{"type":"invalid_request_error"}"#, InvalidRequest),
        (r#"{"type":"authentication_error"}"#, Unauthorized),
        (r#"{"type":"server_error"}"#, ServerError),
        (
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            ServerError,
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error"}}"#,
            RateLimited,
        ),
        (
            r#"{"type":"error","code":"rate_limit_exceeded"}"#,
            RateLimited,
        ),
        (r#""just words""#, ServerError),
        (
            r#"{"message":"the context window is full"}"#,
            ContextOverflow,
        ),
        ("{}", ServerError),
        // `models/M8`
        (
            r#"{"object":"error","message":"bad request","code":400}"#,
            InvalidRequest,
        ),
        (r#"{"code":401,"msg":"no such key"}"#, Unauthorized),
        (
            r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            QuotaExceeded,
        ),
        (
            r#"{"base_resp":{"status_code":1002,"status_msg":"too fast"}}"#,
            RateLimited,
        ),
        (
            r#"{"base_resp":{"status_code":1004,"status_msg":"login fail"}}"#,
            Unauthorized,
        ),
        (
            r#"{"base_resp":{"status_code":2013,"status_msg":"invalid params, context window exceeds limit"}}"#,
            ContextOverflow,
        ),
        (
            r#"{"base_resp":{"status_code":2013,"status_msg":"invalid params"}}"#,
            InvalidRequest,
        ),
        (
            r#"{"base_resp":{"status_code":1000,"status_msg":"unknown error"}}"#,
            ServerError,
        ),
    ];
    for (body, kind) in table {
        let report = Report::from_json(&serde_json::from_str(body).unwrap());
        assert_eq!(report.kind_inside(), kind, "{body}");
    }
}

/// `models/M7`: a conversation that does not fit, in the words of everybody who says so.
#[test]
fn a_context_that_is_too_small_is_known_by_its_words() {
    let openai = |message: &str| {
        serde_json::json!({"error": {"message": message, "type": "invalid_request_error"}})
            .to_string()
    };
    let table = [
        // OpenAI, with and without its code.
        (400, openai("This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.")),
        (400, openai("Your input exceeds the context window of this model. Please adjust your input and try again.")),
        (400, r#"{"error":{"code":"context_length_exceeded"}}"#.to_owned()),
        // Anthropic.
        (400, openai("prompt is too long: 210000 tokens > 200000 maximum")),
        (400, openai("input length and `max_tokens` exceed context limit: 187254 + 20000 > 204798, decrease input length or `max_tokens` and try again")),
        (413, r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#.to_owned()),
        // Gemini.
        (400, openai("The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).")),
        (400, openai("The input token count exceeds the maximum number of tokens allowed 1048576.")),
        // Bedrock.
        (400, r#"{"message":"Input is too long for requested model."}"#.to_owned()),
        // xAI.
        (400, r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 537812 tokens."}"#.to_owned()),
        // Groq.
        (400, openai("Please reduce the length of the messages or completion.")),
        // OpenRouter.
        (400, r#"{"error":{"code":400,"message":"This endpoint's maximum context length is 262144 tokens. However, you requested about 300000 tokens."}}"#.to_owned()),
        // Copilot.
        (400, r#"{"error":{"message":"prompt token count of 130000 exceeds the limit of 128000","code":"model_max_prompt_tokens_exceeded"}}"#.to_owned()),
        (400, openai("prompt token count of 130000 exceeds the limit of 128000")),
        // Kimi, Zhipu, DashScope, MiniMax.
        (400, openai("Invalid request: Your request exceeded model token limit: 262144 (requested: 270000)")),
        (400, r#"{"error":{"code":"1261","message":"Prompt too long"}}"#.to_owned()),
        (400, r#"{"error":{"code":"model_context_window_exceeded","message":"x"}}"#.to_owned()),
        (400, openai("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]")),
        (400, openai("invalid params, context window exceeds limit (2013)")),
        // Mistral, Together, Ollama.
        (400, r#"{"object":"error","message":"Prompt contains 40000 tokens, too large for model with 32768 maximum context length","type":"invalid_request_message_order"}"#.to_owned()),
        (422, openai("Input validation error: `inputs` tokens + `max_new_tokens` exceeds the model's context length 8192")),
        (400, openai("prompt too long; exceeded max context length by 512 tokens")),
        // vLLM and SGLang.
        (400, r#"{"object":"error","message":"The decoder prompt (length 5000) is longer than the maximum model length of 4096.","code":400}"#.to_owned()),
        (400, openai("You passed 5000 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens")),
        (400, r#"{"object":"error","message":"The input (5000 tokens) is longer than the model's context length (4096 tokens).","type":"BadRequestError","code":400}"#.to_owned()),
        (400, openai("Requested token count exceeds the model's maximum context length of 4096 tokens.")),
        // llama.cpp, whatever its status.
        (400, r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error"}}"#.to_owned()),
        (500, r#"{"error":{"code":500,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"server_error"}}"#.to_owned()),
        (500, r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#.to_owned()),
        (500, r#"{"error":{"code":500,"message":"input is larger than the max context size. skipped","type":"server_error"}}"#.to_owned()),
        // LM Studio.
        (400, r#"{"error":"The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length"}"#.to_owned()),
        (400, r#"{"error":"Trying to keep the first 9812 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}"#.to_owned()),
        // LiteLLM, which repeats others.
        (400, openai("litellm.BadRequestError: litellm.ContextWindowExceededError: AnthropicException - x")),
        (400, openai("total message size 4302144 exceeds limit 4194304")),
        // A proxy that says nothing but the status.
        (413, "<html><head><title>413 Request Entity Too Large</title></head></html>".to_owned()),
        (413, String::new()),
    ];
    for (status, body) in &table {
        let report = Report::read(body.as_bytes());
        assert_eq!(report.kind(*status), ContextOverflow, "{status} {body}");
        // The same inside a stream, whose report has no status.
        if report.message.is_some() && *status != 413 {
            assert_eq!(report.kind_inside(), ContextOverflow, "{body}");
        }
    }
    for (status, body) in [
        (
            400,
            openai("Unsupported value: 'temperature' does not support 0.5"),
        ),
        (
            400,
            openai(
                "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
            ),
        ),
        (400, openai("'messages' is too short")),
        (
            429,
            openai(
                "Rate limit reached: 40000 tokens per minute exceeds the limit of your context window",
            ),
        ),
    ] {
        let kind = Report::read(body.as_bytes()).kind(status);
        assert_ne!(kind, ContextOverflow, "{status} {body}");
    }
}

/// `models/M8` and `models/M10`
#[test]
fn a_failure_is_told_from_a_part_of_an_answer() {
    for document in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":"m"}"#,
        r#"{"choices":[],"error":{"code":429}}"#,
        r#"{"type":"error","error":{}}"#,
        r#"{"type":"error","code":"x","message":"m"}"#,
        r#"{"object":"error","message":"m","code":400}"#,
        r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"m"}}"#,
        r#"{"code":401,"msg":"m"}"#,
        r#"{"code":"InvalidApiKey","message":"m"}"#,
    ] {
        assert!(is_failure(&Fields::read(document).unwrap()), "{document}");
    }
    for document in [
        "{}",
        r#"{"error":null}"#,
        r#"{"error":""}"#,
        r#"{"error":{},"choices":[]}"#,
        r#"{"error":false}"#,
        r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#,
        r#"{"code":0,"msg":"ok","data":{}}"#,
        r#"{"code":200,"message":"success"}"#,
        r#"{"code":500,"message":"m","choices":[]}"#,
        r#"{"type":"ping","code":1,"message":"m"}"#,
        r#"{"message":"busy"}"#,
        r#"{"type":"message_start","message":{"type":"message"}}"#,
    ] {
        assert!(!is_failure(&Fields::read(document).unwrap()), "{document}");
    }
}

#[test]
fn every_reason_is_an_end() {
    use FinishReason::{ContentFilter as Withheld, Length};
    for (reason, expected) in [
        ("", None),
        ("null", None),
        ("FINISH_REASON_UNSPECIFIED", None),
        ("stop", Some(End::Whole)),
        ("tool_calls", Some(End::Whole)),
        ("function_call", Some(End::Whole)),
        ("eos", Some(End::Whole)),
        ("end_turn", Some(End::Whole)),
        ("tool_use", Some(End::Whole)),
        ("pause_turn", Some(End::Whole)),
        ("stop_sequence", Some(End::Whole)),
        ("STOP", Some(End::Whole)),
        ("length", Some(End::Cut(Length))),
        ("max_tokens", Some(End::Cut(Length))),
        ("max_output_tokens", Some(End::Cut(Length))),
        ("model_length", Some(End::Cut(Length))),
        ("model_context_window_exceeded", Some(End::Cut(Length))),
        ("MAX_TOKENS", Some(End::Cut(Length))),
        ("content_filter", Some(End::Cut(Withheld))),
        ("refusal", Some(End::Cut(Withheld))),
        ("sensitive", Some(End::Cut(Withheld))),
        ("SAFETY", Some(End::Cut(Withheld))),
        ("RECITATION", Some(End::Cut(Withheld))),
        ("PROHIBITED_CONTENT", Some(End::Cut(Withheld))),
        ("OTHER", Some(End::BrokenOff)),
        ("MALFORMED_FUNCTION_CALL", Some(End::BrokenOff)),
        ("UNEXPECTED_TOOL_CALL", Some(End::BrokenOff)),
        ("error", Some(End::Failed)),
        ("abort", Some(End::Failed)),
        ("insufficient_system_resource", Some(End::Failed)),
    ] {
        assert_eq!(end(reason), expected, "{reason}");
    }
}
