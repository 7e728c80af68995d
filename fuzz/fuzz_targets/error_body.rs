#![no_main]

opspawn_fuzz::program!("error_body");
