-- Signed requests: the Ed25519 public key by which a key's requests are checked. A former secret goes on with the former one.

alter table telemetry.api_key add column signing_key bytea check (octet_length(signing_key) = 32);
alter table telemetry.api_key add column former_signing_key bytea check (octet_length(former_signing_key) = 32);
