#![no_main]

opspawn_fuzz::program!("json_path");
