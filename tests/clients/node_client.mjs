// The session that tests/clients.rs expects of every client, as node-postgres does it.

import { createRequire } from 'node:module';

const { Client, Pool } = createRequire(`${process.env.PGC_STATE}/clients/node/`)('pg');
const tokens = Object.fromEntries(
  ['alice', 'bob', 'carol', 'forged'].map((name) => [name, process.env[`PGC_${name.toUpperCase()}`]]));

const say = (...words) => console.log(words.join('\t'));
const identify = (client, person, extra = '') =>
  client.query(`select custodian.set_identity($1${extra})`, [tokens[person]]);

// The first column of all rows, or the SQLSTATE.
async function answer(client, query) {
  try {
    const { rows } = await client.query(query);
    return rows.map((row) => Object.values(row)[0] ?? 'null').join(',');
  } catch (error) {
    return error.code;
  }
}

const iban = (client, tag) =>
  answer(client, `select iban as node_${tag} from masked.customers where id = 1`);
const whoami = (client) => answer(client, 'select custodian.user_id()');

async function shared(client) {
  const text = 'select iban as node_shared from masked.customers where id = $1';
  const answers = [];
  for (const id of [1, 2, 3, 4, 1, 2, 3, 4]) {
    // A statement with a name is prepared once per connection.
    answers.push(await answer(client, { name: 'shared', text, values: [id] }));
  }
  return answers.join(',');
}

async function oneSession() {
  const client = new Client();
  await client.connect();
  say('connected', 'ok');
  say('nobody', await iban(client, 'nobody'));
  await identify(client, 'alice');
  say('identified', await whoami(client));
  say('alice', await iban(client, 'alice_reads'));
  say('prepared', await shared(client));
  await client.query('begin');
  say('in transaction', await iban(client, 'alice_rolls_back'));
  await client.query('rollback');
  say('rolled back', await whoami(client));
  await client.query('begin');
  say('fails', await answer(client, 'select 1/0 as node_alice_fails'));
  say('aborted', await whoami(client));
  await client.query('rollback');
  say('failed', await whoami(client));
  await identify(client, 'bob');
  say('bob', await iban(client, 'bob_reads'));
  say('prepared', await shared(client));
  await identify(client, 'carol');
  say('carol', await iban(client, 'carol_reads'));
  await identify(client, 'forged').catch((error) => say('forged', error.code));
  say('after forged', await iban(client, 'nobody_after'));
  await client.end();
}

async function borrow(pool, work) {
  const client = await pool.connect();
  try {
    await work(client);
    // Not DISCARD ALL: it drops prepared statements that node-postgres goes on to use.
    await client.query('select custodian.clear_identity()');
    client.release();
  } catch (error) {
    client.release(error);
    throw error;
  }
}

async function onePool() {
  const pool = new Pool({ max: 1 });
  await borrow(pool, async (client) => {
    await identify(client, 'alice');
    say('pool alice', await iban(client, 'alice_in_pool'), await shared(client));
  });
  await borrow(pool, async (client) => {
    say('pool nobody', await iban(client, 'nobody_in_pool'));
    await identify(client, 'bob');
    say('pool bob', await iban(client, 'bob_in_pool'), await shared(client));
  });
  let client = await pool.connect();
  await client.query('begin');
  await identify(client, 'alice', ', for_transaction => true');
  say('transaction alice', await iban(client, 'alice_for_transaction'));
  await client.query('commit');
  client.release();
  client = await pool.connect();
  say('transaction nobody', await iban(client, 'nobody_for_transaction'));
  client.release();
  await pool.end();
}

async function atStart() {
  const client = new Client({ options: `-c pg_custodian.token=${tokens.alice}` });
  await client.connect();
  say('started', await whoami(client), await iban(client, 'alice_started'));
  await client.end();
}

// What programs do on a connection before anybody could identify.
async function usual() {
  const settings = { application_name: 'usual', statement_timeout: 9000, lock_timeout: 9000,
    idle_in_transaction_session_timeout: 9000, query_timeout: 9000, keepAlive: true };
  const client = new Client(settings);
  await client.connect();
  for (const query of ["set time zone 'UTC'", "set search_path = 'public'", 'begin', 'rollback',
    'select version()', 'select current_schema()', 'show server_version', 'select current_database()']) {
    say(query, await client.query(query).then(() => 'ok', (error) => error.code));
  }
  await client.end();
}

if (process.argv[2] === 'start') {
  await atStart();
} else if (process.argv[2] === 'usual') {
  await usual();
} else {
  await oneSession();
  await onePool();
}
