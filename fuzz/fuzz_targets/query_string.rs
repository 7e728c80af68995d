#![no_main]

opspawn_fuzz::program!("query_string");
