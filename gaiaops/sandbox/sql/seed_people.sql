-- The people of the sandbox, row by row: one definition that auth.users and the environments' users tables
-- both read, so that their ids and addresses agree without any link between the databases.
-- Temporary functions: nothing of this stays in the database. Nothing here is random or reads the clock.

-- A UUID with the version and variant bits of a random one, from the md5 of a text (seed.py has its twin).
CREATE OR REPLACE FUNCTION pg_temp.seed_uuid(seed text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT overlay(
               overlay(md5(seed) PLACING '4' FROM 13)
               PLACING translate(substr(md5(seed), 17, 1), '0123456789abcdef', '89ab89ab89ab89ab') FROM 17
           )::uuid
$$;

-- n           row number, from 0
-- id          the same in auth.users and in the home environment
-- home        production, dev, staging, local, or NULL: in Supabase and in no environment
-- guest       registered for dev, staging or local, and has logged in to production too
-- address     tagged for the home environment; unique, because (culture, names, round) is
-- created_at  spread over 700 days so that no two rows share it, but for the 60 of one bulk import
CREATE OR REPLACE FUNCTION pg_temp.seed_people(people bigint)
RETURNS TABLE (n bigint, id uuid, home text, guest boolean, name text, address text, created_at timestamptz)
LANGUAGE sql STABLE AS $$
WITH culture (c, family_first, given, given_ascii, family, family_ascii) AS (VALUES
    (0, false, '{Amélie,Lucas,Chloé,Hugo,Manon,Théo,Camille,Louis,Inès,Jules,Zoé,Gaël}'::text[],
               '{amelie,lucas,chloe,hugo,manon,theo,camille,louis,ines,jules,zoe,gael}'::text[],
               '{Dubois,Lefèvre,Moreau,Girard,Roux,Fournier,Mercier,Blanc,Garnier,Faure,Chevalier,Leroy,Noël}'::text[],
               '{dubois,lefevre,moreau,girard,roux,fournier,mercier,blanc,garnier,faure,chevalier,leroy,noel}'::text[]),
    (1, false, '{Jürgen,Greta,Lukas,Hannah,Jörg,Käthe,Felix,Mathilda,Sören,Liesel,Anton,Rosa}',
               '{juergen,greta,lukas,hannah,joerg,kaethe,felix,mathilda,soeren,liesel,anton,rosa}',
               '{Müller,Schäfer,Weiß,Köhler,Brandt,Vogel,Krüger,Lindner,Seidel,Böhm,Winkler,Hartmann,Öztürk}',
               '{mueller,schaefer,weiss,koehler,brandt,vogel,krueger,lindner,seidel,boehm,winkler,hartmann,oeztuerk}'),
    (2, false, '{Oliver,Grace,Jack,Emily,Harry,Sophie,Callum,Niamh,Rhys,Isla,Declan,Aoife}',
               '{oliver,grace,jack,emily,harry,sophie,callum,niamh,rhys,isla,declan,aoife}',
               '{Walker,Hughes,Bennett,Campbell,Fraser,Doyle,Murphy,Llewellyn,Whitaker,Ashworth,Kelly,Sutton,Barlow}',
               '{walker,hughes,bennett,campbell,fraser,doyle,murphy,llewellyn,whitaker,ashworth,kelly,sutton,barlow}'),
    (3, false, '{Lucía,Mateo,Sofía,Joaquín,Valentina,Andrés,Ximena,Iñaki,Camila,Tomás,Renata,Óscar}',
               '{lucia,mateo,sofia,joaquin,valentina,andres,ximena,inaki,camila,tomas,renata,oscar}',
               '{García,Muñoz,Fernández,Ibáñez,Castillo,Peña,Ramírez,Ortega,Núñez,Salazar,Vázquez,Morales,Quiroga}',
               '{garcia,munoz,fernandez,ibanez,castillo,pena,ramirez,ortega,nunez,salazar,vazquez,morales,quiroga}'),
    (4, true,  '{太郎,花子,健太,美咲,大輔,陽菜,翔太,結衣,拓海,葵,蓮,さくら}',
               '{taro,hanako,kenta,misaki,daisuke,hina,shota,yui,takumi,aoi,ren,sakura}',
               '{山田,佐藤,鈴木,高橋,田中,渡辺,伊藤,中村,小林,加藤,吉田,松本,井上}',
               '{yamada,sato,suzuki,takahashi,tanaka,watanabe,ito,nakamura,kobayashi,kato,yoshida,matsumoto,inoue}'),
    (5, true,  '{伟,芳,秀英,敏,静,磊,洋,艳,勇,军,杰,娟}',
               '{wei,fang,xiuying,min,jing,lei,yang,yan,yong,jun,jie,juan}',
               '{王,李,张,刘,陈,赵,黄,周,吴,徐,孙,胡,朱}',
               '{wang,li,zhang,liu,chen,zhao,huang,zhou,wu,xu,sun,hu,zhu}'),
    (6, false, '{Łukasz,Agnieszka,Paweł,Zofia,Michał,Małgorzata,Wojciech,Katarzyna,Stanisław,Ewa,Jiří,Eliška}',
               '{lukasz,agnieszka,pawel,zofia,michal,malgorzata,wojciech,katarzyna,stanislaw,ewa,jiri,eliska}',
               '{Wójcik,Kowalczyk,Zieliński,Szymański,Dąbrowski,Kozłowski,Jankowski,Mazur,Dvořák,Svoboda,Horák,Kučera,Němec}',
               '{wojcik,kowalczyk,zielinski,szymanski,dabrowski,kozlowski,jankowski,mazur,dvorak,svoboda,horak,kucera,nemec}'),
    (7, false, '{Ольга,Дмитрий,Наталья,Сергей,Тарас,Оксана,Иван,Людмила,Андрій,Ірина,Богдан,Елена}',
               '{olga,dmitry,natalya,sergey,taras,oksana,ivan,lyudmila,andriy,iryna,bohdan,elena}',
               '{Шевченко,Бондаренко,Ткаченко,Коваленко,Мельник,Савченко,Марченко,Лысенко,Гончар,Павленко,Климов,Орлов,Соколов}',
               '{shevchenko,bondarenko,tkachenko,kovalenko,melnyk,savchenko,marchenko,lysenko,honchar,pavlenko,klimov,orlov,sokolov}'),
    (8, false, '{Amara,Chinedu,Ngozi,Kwame,Abena,Thabo,Naledi,Wanjiru,Kamau,Fatoumata,Ousmane,Zanele}',
               '{amara,chinedu,ngozi,kwame,abena,thabo,naledi,wanjiru,kamau,fatoumata,ousmane,zanele}',
               '{Okonkwo,Adeyemi,Mensah,Owusu,Dlamini,Nkosi,Kariuki,Mwangi,Diallo,Traoré,Ndiaye,Khumalo,Boateng}',
               '{okonkwo,adeyemi,mensah,owusu,dlamini,nkosi,kariuki,mwangi,diallo,traore,ndiaye,khumalo,boateng}'),
    (9, false, '{आरव,Ananya,Rohan,प्रिया,Vikram,Meera,محمد,فاطمة,Omar,Layla,Yusuf,Noor}',
               '{aarav,ananya,rohan,priya,vikram,meera,mohammed,fatima,omar,layla,yusuf,noor}',
               '{Sharma,Iyer,Banerjee,Chatterjee,Reddy,Kapoor,Desai,Haddad,Mansour,Khalil,Nasser,Rahman,Siddiqui}',
               '{sharma,iyer,banerjee,chatterjee,reddy,kapoor,desai,haddad,mansour,khalil,nasser,rahman,siddiqui}')
), person AS (
    SELECT r.n,
           r.n / 1560 AS round,                            -- 10 cultures × 12 given × 13 family names
           r.n / 10 AS pick,
           CASE WHEN b.bucket < 55 THEN 'production'
                WHEN b.bucket < 80 THEN 'dev'
                WHEN b.bucket < 92 THEN 'staging'
                WHEN b.bucket < 97 THEN 'local' END AS home
      FROM generate_series(0, people - 1) AS r (n),
           LATERAL (SELECT mod((r.n + r.n / 100) * 37, 100)) AS b (bucket)   -- exact shares in each hundred rows
)
SELECT p.n,
       pg_temp.seed_uuid('user:' || p.n),
       p.home,
       coalesce(p.n < 2000 AND mod(p.n, 25) = 7 AND p.home <> 'production', false),
       CASE WHEN c.family_first THEN c.family[f.f] || ' ' || c.given[g.g] ELSE c.given[g.g] || ' ' || c.family[f.f] END,
       c.given_ascii[g.g]
           || (ARRAY['.', '.', '.', '_', '-'])[1 + mod(p.n, 5)]
           || c.family_ascii[f.f]
           || CASE WHEN p.round > 0 THEN p.round::text ELSE '' END
           || CASE WHEN p.home <> 'production' THEN '+' || p.home ELSE '' END
           || (ARRAY['@example.com', '@example.com', '@example.org', '@example.com', '@example.net', '@example.com', '@example.com'])[1 + mod(p.n, 7)],
       CASE WHEN p.n BETWEEN 300 AND 359 THEN timestamptz '2026-03-14 09:26:53+00'
            -- 37,384,615,387 and the number of microseconds in 700 days have no common factor: no ties
            ELSE timestamptz '2026-10-15 00:00:00+00' - mod(p.n * 37384615387, 60480000000000) * interval '1 microsecond'
       END
  FROM person p
  JOIN culture c ON c.c = mod(p.n, 10)
 CROSS JOIN LATERAL (SELECT 1 + mod(p.pick, 12)) AS g (g)
 CROSS JOIN LATERAL (SELECT 1 + mod(p.pick, 13)) AS f (f)
$$;
