-- The functions and triggers that a session meets without naming a schema, but those of extensions and of
-- Postgres itself. Definitions are without the names of their schemas.
SELECT format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
       replace(pg_get_functiondef(p.oid), quote_ident(n.nspname) || '.', '') AS definition,
       true AS enabled
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p')
  AND n.nspname <> 'pg_catalog'
  AND pg_function_is_visible(p.oid)
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT format('%s on %s', t.tgname, c.relname),
       replace(pg_get_triggerdef(t.oid), quote_ident(n.nspname) || '.', ''),
       t.tgenabled IN ('O', 'A')
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal
  AND n.nspname <> 'pg_catalog'
  AND pg_table_is_visible(c.oid)
