#![no_main]

opspawn_fuzz::program!("grpc_message");
