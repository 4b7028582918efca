-- The public surface: a change of a name, a signature, a default or a right shows here.

-- Functions, and whether everybody may call them.
select n.nspname || '.' || p.proname as function,
       pg_get_function_arguments(p.oid) as arguments,
       pg_get_function_result(p.oid) as result,
       has_function_privilege('public', p.oid, 'execute') as everybody
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
order by 1, 2;

-- Tables, views and their columns, partitions apart.
select c.oid::regclass as relation, c.relkind as kind,
       string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum) as columns
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace in (select oid from pg_namespace where nspname in ('custodian', 'mask', 'access', 'audit'))
  and c.relkind in ('r', 'p', 'v') and not c.relispartition
group by c.oid, c.relkind order by 1;

-- Who may read them.
select c.oid::regclass as relation, coalesce(r.rolname, 'PUBLIC') as grantee,
       string_agg(x.privilege_type, ' ' order by x.privilege_type) as privileges
from pg_class c, aclexplode(c.relacl) x left join pg_roles r on r.oid = x.grantee
where c.relnamespace in (select oid from pg_namespace where nspname in ('custodian', 'mask', 'access', 'audit'))
  and c.relkind in ('r', 'p', 'v') and not c.relispartition and r.rolname is distinct from 'postgres'
group by 1, 2 order by 1, 2;

-- Nothing in these schemas may be written by everybody.
select c.oid::regclass as relation, x.privilege_type
from pg_class c, aclexplode(c.relacl) x
where x.grantee = 0 and x.privilege_type <> 'SELECT'
  and c.relnamespace in (select oid from pg_namespace where nspname in ('custodian', 'mask', 'access', 'audit'));

-- Every function with its owner's rights pins its search_path.
select p.oid::regprocedure as unpinned
from pg_proc p join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
where p.prosecdef and not exists (select from unnest(p.proconfig) as setting where setting like 'search_path=%');

-- Everything has a comment.
select p.oid::regprocedure as uncommented
from pg_proc p join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
where obj_description(p.oid, 'pg_proc') is null
order by 1;

-- Settings. None may be set by those it governs.
select name, setting, context, short_desc from pg_settings where name like 'pg_custodian.%' order by 1;
