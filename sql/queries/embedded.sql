-- served_folder --
-- Which cluster a server serves, as proof that it is the one we mean.
show data_directory;

-- is_alive --
-- Proof that the server answers queries.
select 1;

-- has_database --
-- Whether the application's database has been made.
select exists (select from pg_database d where d.datname = 'telemetry');

-- pass_verifier --
-- Hand the hash of the application's password to the next statement; a role's password can't be a parameter.
select set_config('telemetry.verifier', $1::text, false);

-- ensure_role --
-- Make the application's role, or set its rights and password right.
do $$
begin
  if not exists (select from pg_roles r where r.rolname = 'telemetry') then
    create role telemetry;
  end if;
  execute format(
    'alter role telemetry login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password %L',
    current_setting('telemetry.verifier'));
end $$;

-- create_database --
-- The application owns its database, so that it can make its schema without being superuser.
create database telemetry owner telemetry;
