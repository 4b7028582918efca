// The session that tests/clients.rs expects of every client, as pgjdbc does it.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

public class JdbcClient {
    static final String SHARED = "select iban as jdbc_shared from masked.customers where id = ?";

    static void say(String... words) {
        System.out.println(String.join("\t", words));
    }

    static String token(String person) {
        return System.getenv("PGC_" + person.toUpperCase());
    }

    static Connection connect(String options) throws SQLException {
        Properties properties = new Properties();
        if (options != null) properties.setProperty("options", options);
        return connect(properties);
    }

    static Connection connect(Properties properties) throws SQLException {
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
            + System.getenv("PGDATABASE");
        return DriverManager.getConnection(url, properties);
    }

    static void identify(Connection connection, String person, String extra) throws SQLException {
        String call = "select custodian.set_identity(?" + extra + ")";
        try (PreparedStatement statement = connection.prepareStatement(call)) {
            statement.setString(1, token(person));
            statement.execute();
        }
    }

    static void run(Connection connection, String command) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(command);
        }
    }

    /** The first column of all rows, or the SQLSTATE. */
    static String answer(Connection connection, String query) {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            return first(rows);
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    static String first(ResultSet rows) throws SQLException {
        List<String> values = new ArrayList<>();
        while (rows.next()) values.add(String.valueOf(rows.getString(1)));
        return String.join(",", values);
    }

    static String iban(Connection connection, String tag) {
        return answer(connection, "select iban as jdbc_" + tag + " from masked.customers where id = 1");
    }

    static String whoami(Connection connection) {
        return answer(connection, "select custodian.user_id()");
    }

    static String shared(Connection connection) throws SQLException {
        List<String> answers = new ArrayList<>();
        // From the fifth execution on pgjdbc prepares the statement on the server.
        try (PreparedStatement statement = connection.prepareStatement(SHARED)) {
            for (int round = 0; round < 2; round++) {
                for (int id = 1; id <= 4; id++) {
                    statement.setLong(1, id);
                    try (ResultSet rows = statement.executeQuery()) {
                        answers.add(first(rows));
                    } catch (SQLException error) {
                        answers.add(error.getSQLState());
                    }
                }
            }
        }
        return String.join(",", answers);
    }

    static void oneSession() throws SQLException {
        try (Connection connection = connect((String) null)) {
            say("connected", connection.isValid(5) ? "ok" : "not valid");
            say("nobody", iban(connection, "nobody"));
            identify(connection, "alice", "");
            say("identified", whoami(connection));
            say("alice", iban(connection, "alice_reads"));
            say("prepared", shared(connection));
            connection.setAutoCommit(false);
            say("in transaction", iban(connection, "alice_rolls_back"));
            connection.rollback();
            say("rolled back", whoami(connection));
            connection.rollback();
            say("fails", answer(connection, "select 1/0 as jdbc_alice_fails"));
            say("aborted", whoami(connection));
            connection.rollback();
            connection.setAutoCommit(true);
            say("failed", whoami(connection));
            identify(connection, "bob", "");
            say("bob", iban(connection, "bob_reads"));
            say("prepared", shared(connection));
            identify(connection, "carol", "");
            say("carol", iban(connection, "carol_reads"));
            try {
                identify(connection, "forged", "");
            } catch (SQLException error) {
                say("forged", error.getSQLState());
            }
            say("after forged", iban(connection, "nobody_after"));
        }
    }

    /** One connection that goes from hand to hand, as a pool does it. */
    static void onePool() throws SQLException {
        try (Connection connection = connect((String) null)) {
            identify(connection, "alice", "");
            say("pool alice", iban(connection, "alice_in_pool"), shared(connection));
            // pgjdbc notices that its prepared statements are gone.
            run(connection, "discard all");
            say("pool nobody", iban(connection, "nobody_in_pool"));
            identify(connection, "bob", "");
            say("pool bob", iban(connection, "bob_in_pool"), shared(connection));
            run(connection, "select custodian.clear_identity()");
            connection.setAutoCommit(false);
            identify(connection, "alice", ", for_transaction => true");
            say("transaction alice", iban(connection, "alice_for_transaction"));
            connection.commit();
            connection.setAutoCommit(true);
            say("transaction nobody", iban(connection, "nobody_for_transaction"));
        }
    }

    static void atStart() throws SQLException {
        try (Connection connection = connect("-c pg_custodian.token=" + token("alice"))) {
            say("started", whoami(connection), iban(connection, "alice_started"));
        }
    }

    interface Step {
        void take() throws SQLException;
    }

    static void step(String name, Step step) {
        try {
            step.take();
            say(name, "ok");
        } catch (SQLException error) {
            say(name, error.getSQLState());
        }
    }

    /** What programs do on a connection before anybody could identify. */
    static void usual() throws SQLException {
        for (String type : List.of("any", "primary", "preferPrimary", "preferSecondary")) {
            Properties properties = new Properties();
            properties.setProperty("targetServerType", type);
            properties.setProperty("ApplicationName", "usual");
            properties.setProperty("currentSchema", "public");
            properties.setProperty("readOnly", "true");
            properties.setProperty("tcpKeepAlive", "true");
            step("targetServerType " + type, () -> connect(properties).close());
        }
        try (Connection connection = connect((String) null)) {
            step("isValid", () -> {
                if (!connection.isValid(5)) throw new SQLException("not valid", "not valid");
            });
            step("product", () -> connection.getMetaData().getDatabaseProductVersion());
            step("isolation", () -> connection.getTransactionIsolation());
            step("set isolation", () -> connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ));
            step("schema", () -> connection.getSchema());
            step("set schema", () -> connection.setSchema("masked"));
            step("catalog", () -> connection.getCatalog());
            step("set read only", () -> connection.setReadOnly(true));
            step("client info", () -> connection.setClientInfo("ApplicationName", "usual"));
            step("time zone", () -> run(connection, "set time zone 'UTC'"));
            step("savepoint", () -> {
                connection.setAutoCommit(false);
                connection.setSavepoint();
                connection.rollback();
                connection.setAutoCommit(true);
            });
            step("array", () -> connection.createArrayOf("int4", new Integer[] {1, 2}).free());
            step("identity", () -> {
                String call = "select * from custodian.set_identity(?)";
                try (PreparedStatement statement = connection.prepareStatement(call)) {
                    statement.setString(1, token("alice"));
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        if (!rows.getString("user_id").equals("alice")) throw new SQLException("not alice", "not alice");
                        rows.getArray("groups").getArray();
                        rows.getTimestamp("expires_at");
                    }
                }
            });
            run(connection, "discard all");
            step("identity as an object", () -> {
                try (PreparedStatement statement = connection.prepareStatement("select custodian.set_identity(?)")) {
                    statement.setString(1, token("alice"));
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        rows.getObject(1);
                    }
                }
            });
        }
    }

    public static void main(String[] arguments) throws SQLException {
        if (arguments.length == 1 && arguments[0].equals("start")) {
            atStart();
        } else if (arguments.length == 1 && arguments[0].equals("usual")) {
            usual();
        } else {
            oneSession();
            onePool();
        }
    }
}
