#![no_main]

opspawn_fuzz::program!("stream_messages");
