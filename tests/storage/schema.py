"""Everything a database knows of its own schema, as lines that two databases can be compared by."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect

# Tables of the full text are made by SQLite itself, for the virtual table that is compared.
_SQLITE_TABLES = (
    "SELECT name, type, wr, strict FROM pragma_table_list"
    " WHERE schema = 'main' AND type IN ('table', 'virtual') AND name NOT LIKE 'sqlite%'"
)
_SQLITE_COLUMNS = 'SELECT cid, name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
_SQLITE_STATEMENTS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master"
    " WHERE type IN ('index', 'trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'"
)
_SQLITE_UNNAMED_INDEXES = (
    'SELECT x.origin, x."unique", x.partial, group_concat(c.name) FROM pragma_index_list(?) AS x,'
    " pragma_index_info(x.name) AS c WHERE x.origin <> 'c' GROUP BY x.name"
)

_POSTGRES = {
    "relation": "SELECT c.relname, c.relkind, c.relpersistence, c.reloptions FROM pg_class AS c"
    " WHERE c.relnamespace = current_schema()::regnamespace",
    "column": "SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
    " a.attidentity, a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid)"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
    " LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0"
    " AND NOT a.attisdropped",
    "constraint": "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace",
    "index": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "trigger": "SELECT tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}


def read_schema(engine: Engine) -> set[str]:
    """Tables, columns, keys, constraints, indexes, triggers and full text; without alembic's own table."""
    with engine.connect() as connection:
        lines = _read_sqlite(connection) if engine.dialect.name == "sqlite" else _read_postgres(connection)
    return {line for line in lines if "alembic_version" not in line}


def _read_sqlite(connection: Connection) -> set[str]:
    lines = set()
    for name, kind, *options in connection.exec_driver_sql(_SQLITE_TABLES).all():
        lines.add(f"{kind} {name} {options}")
        lines |= {f"column {name} {tuple(row)}" for row in connection.exec_driver_sql(_SQLITE_COLUMNS, (name,))}
        if kind == "table":
            lines |= {
                f"key {name} {tuple(row)}" for row in connection.exec_driver_sql(_SQLITE_UNNAMED_INDEXES, (name,))
            }
            lines |= {f"check {name} {check}" for check in inspect(connection).get_check_constraints(name)}
            lines |= {f"foreign key {name} {key}" for key in inspect(connection).get_foreign_keys(name)}
    for kind, name, table, sql in connection.exec_driver_sql(_SQLITE_STATEMENTS):
        lines.add(f"{kind} {name} {table} {' '.join((sql or '').split())}")
    found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'")
    return lines | {f"autoincrement {name}" for name in found.scalars()}


def _read_postgres(connection: Connection) -> set[str]:
    return {
        f"{kind} {tuple(map(str, row))}"
        for kind, query in _POSTGRES.items()
        for row in connection.exec_driver_sql(query.replace("%", "%%"))
    }
