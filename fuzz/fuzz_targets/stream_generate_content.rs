#![no_main]

opspawn_fuzz::program!("stream_generate_content");
