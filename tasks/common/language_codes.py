"""Names of languages. Pure: a tag in, the code under which the detector knows the language out.

The code is ISO 639-1's where it has one, ISO 639-3's otherwise. Members of a macrolanguage that are
written alike go by its code (Standard Malay is ``ms``), and so do the Chinese languages that have
come down in Standard Chinese; those that are told apart keep their own (Cantonese is ``yue``).
"""

CODES = """
    aar=aa abk=ab afr=af aka=ak amh=am ara=ar arb=ar arg=an asm=as ava=av aym=ay ayr=ay aze=az
    azj=az bak=ba bam=bm bel=be ben=bn bih=bh bis=bi bod=bo bos=bs bre=br bul=bg cat=ca ces=cs
    cha=ch che=ce chv=cv cmn=zh cor=kw cos=co cre=cr cym=cy dan=da deu=de div=dv dzo=dz ekk=et
    ell=el eng=en epo=eo est=et eus=eu ewe=ee fao=fo fas=fa fij=fj fin=fi fra=fr fry=fy ful=ff
    gla=gd gle=ga glg=gl glv=gv grn=gn gug=gn guj=gu hat=ht hau=ha heb=he her=hz hin=hi hmo=ho
    hrv=hr hun=hu hye=hy ibo=ig ido=io iii=ii ike=iu iku=iu ile=ie ina=ia ind=id isl=is ita=it
    jav=jv jpn=ja kal=kl kan=kn kas=ks kat=ka kau=kr kaz=kk khk=mn khm=km kik=ki kin=rw kir=ky
    kmr=ku kom=kv kon=kg kor=ko kua=kj kur=ku lao=lo lat=la lav=lv lim=li lin=ln lit=lt ltz=lb
    lub=lu lug=lg lvs=lv mah=mh mal=ml mar=mr mkd=mk mlg=mg mlt=mt mon=mn mri=mi msa=ms mya=my
    nau=na nav=nv nbl=nr nde=nd ndo=ng nep=ne nld=nl nno=nn nob=nb npi=ne nya=ny oci=oc oji=oj
    ojb=oj ori=or orm=om ory=or oss=os pan=pa pes=fa plt=mg pol=pl por=pt prs=fa pus=ps pbt=ps
    pbu=ps que=qu quz=qu qud=qu quh=qu qxa=qu quy=qu roh=rm ron=ro run=rn rus=ru sag=sg san=sa
    sin=si slk=sk slv=sl sme=se smo=sm sna=sn snd=sd som=so sot=st spa=es sqi=sq als=sq srd=sc
    sro=sc src=sc srp=sr ssw=ss sun=su swa=sw swe=sv swh=sw tah=ty tam=ta tat=tt tel=te tgk=tg
    tgl=tl fil=tl tha=th tir=ti ton=to tsn=tn tso=ts tuk=tk tur=tr twi=tw uig=ug ukr=uk urd=ur
    uzb=uz uzn=uz ven=ve vie=vi vol=vo wln=wa wol=wo xho=xh yid=yi ydd=yi yor=yo zha=za zho=zh
    zul=zu zlm=ms zsm=ms no=nb nor=nb cjy=zh gan=zh hak=zh hsn=zh lah=pnb
"""
ISO_639_1 = dict(pair.split("=") for pair in CODES.split())


def language_of_tag(tag: str) -> str:
    """The code of a tag's language (BCP 47 or ISO 639-3): its first subtag."""
    code = tag.lower().split("-", 1)[0]
    return ISO_639_1.get(code, code)
