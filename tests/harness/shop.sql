-- A shop: what the tests protect. The people are invented, the numbers are well-formed.
create table public.customers (
    id bigint primary key,
    name text not null,
    email text not null unique,
    iban text,
    ssn text,
    date_of_birth date
);
insert into public.customers values
    (1, 'Ada Winter', 'ada.winter@example.com', 'DE89370400440532013000', '078-05-1120', '1984-03-11'),
    (2, 'Bruno Costa', 'bruno.costa@example.com', 'PT50000201231234567890154', '219-09-9999', '1990-07-02'),
    (3, 'Chioma Eze', 'chioma.eze@example.com', 'GB29NWBK60161331926819', '457-55-5462', '1977-12-24'),
    (4, 'Dmitri Volkov', 'dmitri.volkov@example.com', null, null, null);

create table public.orders (
    id bigint primary key,
    customer_id bigint not null references public.customers (id),
    amount numeric(12, 2) not null check (amount > 0),
    ordered_at timestamptz not null default now()
);
insert into public.orders select n, 1 + n % 4, 10 + n, now() from generate_series(1, 40) as n;
