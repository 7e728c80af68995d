#![no_main]

opspawn_fuzz::program!("model_text");
