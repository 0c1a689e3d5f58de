"""What the built-in auctions are made of: models, colours, wheels, equipment, papers, phrases.

The tables are text because they are read as tables: a row a line, ``|`` between columns, ``~``
between different wordings of one fact. A dated entry is ``wordings @ first year-last year``, with
``@ effect`` behind it where the fact moves the log of the price.
"""
# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Version(NamedTuple):
    """One trim of a model: its full name, its engine, how common it is, what it multiplies."""

    name: str
    engine: str
    weight: float
    factor: float
    first: int
    last: int
    limits: str  # "m" manual only, "a" automatic only, "c" the first of the bodies only


class Model(NamedTuple):
    """One generation of one model; ``value`` is the price of a typical car of factor 1."""

    make: str
    name: str
    code: str
    first: int
    last: int
    value: float
    kind: str
    bodies: tuple[tuple[str, float], ...]  # body and what it multiplies
    imported: bool  # a right-hand-drive car from Japan
    manual: str
    automatic: str
    stick: float  # log premium of the manual gearbox
    mods: float  # log premium of tasteful modifications; negative where buyers want stock
    job: str  # the service that buyers of this model ask about
    versions: tuple[Version, ...]


class Dated(NamedTuple):
    """A fact that exists only in some years: its wordings and its effect on the log price."""

    wordings: tuple[str, ...]
    first: int
    last: int
    effect: float


# make | short name | generation | years | value | kind | bodies [| rhd]
#   manual | automatic | stick | mods | job
#   - weight factor name = engine [@ years [@ limits]]
MODELS = """
Porsche | 911 | F-body long-hood | 1969-1973 | 105000 | classic | coupe, Targa*0.85
  five-speed Type 901 | four-speed Sportomatic semi-automatic | .22 | -.05 | Carrera chain-tensioner upgrade
  - 55 0.80 911T = 2.2-liter flat-six
  - 30 1.00 911E = fuel-injected flat-six
  - 15 1.60 911S = high-compression flat-six @ 1969-1973 @ m
Porsche | 911 | G-body | 1974-1989 | 58000 | classic | coupe, Targa*0.9, cabriolet*0.88
  five-speed 915 | | 0 | .06 | valve-adjustment and clutch service
  - 50 0.85 911SC = 3.0-liter flat-six @ 1978-1983
  - 50 1.05 911 Carrera = 3.2-liter Motronic flat-six @ 1984-1989
  - 14 2.10 930 Turbo = turbocharged 3.3-liter flat-six @ 1978-1989 @ c
Porsche | 911 | 964 | 1989-1994 | 92000 | modern | coupe, cabriolet*0.72, Targa*0.85
  five-speed G50 | four-speed Tiptronic automatic | .32 | .04 | cylinder-stud and oil-leak service
  - 45 0.90 911 Carrera 2 = 3.6-liter M64 flat-six
  - 35 0.84 911 Carrera 4 = 3.6-liter M64 flat-six @ @ m
  - 8 1.90 911 Turbo = turbocharged 3.3-liter M30 flat-six @ 1991-1992 @ mc
Porsche | 911 | 993 | 1995-1998 | 98000 | modern | coupe, cabriolet*0.68, Targa*0.82
  six-speed G50/21 | four-speed Tiptronic automatic | .30 | -.10 | secondary-air and VarioRam service
  - 55 0.88 911 Carrera = air-cooled 3.6-liter M64 flat-six
  - 25 1.25 911 Carrera 4S = air-cooled 3.6-liter M64 flat-six @ 1996-1998 @ mc
  - 10 2.00 911 Turbo = twin-turbocharged 3.6-liter M64/60 flat-six @ 1996-1997 @ mc
Porsche | 911 | 996 | 1999-2004 | 31000 | modern | coupe, cabriolet*0.82
  six-speed | five-speed Tiptronic automatic | .26 | -.04 | IMS-bearing and clutch replacement
  - 60 0.75 911 Carrera = water-cooled M96 flat-six
  - 20 1.00 911 Carrera 4S = 3.6-liter M96/03 flat-six @ 2002-2004
  - 20 1.75 911 Turbo = twin-turbocharged 3.6-liter Mezger flat-six @ 2001-2004
Porsche | 944 | Type 944 | 1983-1991 | 15500 | modern | coupe
  five-speed Getrag | three-speed automatic | .28 | -.02 | timing- and balance-shaft-belt service
  - 60 0.75 944 = 2.5-liter inline-four
  - 25 1.60 944 Turbo = turbocharged 2.5-liter M44 inline-four @ 1986-1989 @ m
  - 15 1.45 944 S2 = 16-valve 3.0-liter inline-four @ 1989-1991 @ m
Porsche | Boxster | 986 | 1997-2004 | 12500 | modern | roadster
  five-speed | five-speed Tiptronic | .20 | -.02 | IMS-bearing and clutch replacement
  - 60 0.85 Boxster = mid-mounted M96 flat-six
  - 40 1.20 Boxster S = mid-mounted 3.2-liter M96 flat-six @ 2000-2004
Porsche | 356 | T5/T6 | 1960-1963 | 98000 | classic | coupe*0.85, cabriolet*1.5
  four-speed Type 741 | | 0 | .04 | carburetor rebuild and valve adjustment
  - 60 0.90 356B 1600 = pushrod 1.6-liter flat-four
  - 25 1.15 356B Super 90 = 1.6-liter Super 90 flat-four
BMW | 2002 | E10 | 1968-1976 | 24000 | classic | coupe
  four-speed Getrag | three-speed automatic | .22 | .10 | carburetor rebuild and valve adjustment
  - 70 0.90 2002 = 2.0-liter M10 inline-four
  - 30 1.80 2002tii = Kugelfischer-injected M10 inline-four @ 1972-1974 @ m
BMW | 3.0CS | E9 | 1972-1974 | 72000 | classic | coupe
  four-speed Getrag | three-speed automatic | .25 | .02 | head-gasket and cooling-system service
  - 60 0.85 3.0CS = twin-carbureted 3.0-liter M30 inline-six
  - 40 1.30 3.0CSi = fuel-injected 3.0-liter M30 inline-six
BMW | 3-Series | E30 | 1987-1991 | 16000 | modern | coupe, convertible*0.8, sedan*0.85
  five-speed Getrag 260 | four-speed ZF automatic | .35 | .06 | timing-belt and water-pump service
  - 60 1.00 325i = 2.5-liter M20 inline-six
  - 20 0.95 318i = 16-valve 1.8-liter M42 inline-four @ 1991-1991
BMW | M3 | E30 | 1988-1991 | 72000 | modern | coupe
  five-speed Getrag 265 | | 0 | -.18 | valve-adjustment and cooling-system service
  - 100 1.00 M3 = individual-throttle 2.3-liter S14 inline-four
BMW | M3 | E36 | 1995-1999 | 19500 | modern | coupe
  five-speed ZF | five-speed automatic | .38 | -.02 | VANOS and cooling-system overhaul
  - 30 1.05 M3 = 3.0-liter S50 inline-six @ 1995-1995 @ c
  - 70 1.00 M3 = 3.2-liter S52 inline-six @ 1996-1999
BMW | M3 | E46 | 2001-2006 | 26000 | modern | coupe, convertible*0.66
  six-speed Getrag | six-speed SMG II automated | .34 | -.06 | rod-bearing, VANOS and subframe work
  - 85 0.95 M3 = 3.2-liter S54 inline-six
  - 15 1.65 M3 Competition Package = 3.2-liter S54 inline-six @ 2005-2006 @ c
BMW | M5 | E28 | 1988-1988 | 48000 | modern | sedan
  five-speed Getrag 280 | | 0 | -.12 | valve-adjustment and timing-chain-guide work
  - 100 1.00 M5 = 24-valve 3.5-liter S38 inline-six
BMW | M5 | E39 | 2000-2003 | 29000 | modern | sedan
  six-speed Getrag 420G | | 0 | -.08 | VANOS and timing-chain-guide work
  - 100 1.00 M5 = 4.9-liter S62 V8
BMW | M Coupe | E36/8 | 1999-2002 | 38000 | modern | coupe
  five-speed ZF | | 0 | -.08 | subframe-reinforcement and cooling-system work
  - 65 0.85 M Coupe = 3.2-liter S52 inline-six @ 1999-2000
  - 35 1.80 M Coupe = 315-horsepower 3.2-liter S54 inline-six @ 2001-2002
BMW | Z8 | E52 | 2000-2003 | 180000 | exotic | roadster
  six-speed Getrag | | 0 | -.15 | VANOS service
  - 100 1.00 Z8 = 4.9-liter S62 V8
Mercedes-Benz | SL | W113 | 1963-1971 | 82000 | classic | roadster
  four-speed | four-speed automatic | .10 | -.06 | fuel-injection-pump and valve service
  - 30 0.80 230SL = 2.3-liter M127 inline-six @ 1963-1967
  - 20 0.95 250SL = 2.5-liter M129 inline-six @ 1967-1968
  - 50 1.20 280SL = 2.8-liter M130 inline-six @ 1968-1971
Mercedes-Benz | SL | R107 | 1972-1989 | 21000 | luxury | roadster
  | four-speed automatic | 0 | -.06 | timing-chain and guide replacement
  - 55 0.75 450SL = 4.5-liter M117 V8 @ 1973-1980 @ a
  - 25 0.65 380SL = 3.8-liter M116 V8 @ 1981-1985 @ a
  - 30 1.60 560SL = 5.5-liter M117 V8 @ 1986-1989 @ a
  - 4 0.80 350SL = 4.5-liter M117 V8 @ 1972-1972 @ a
Mercedes-Benz | 190SL | W121 | 1956-1962 | 108000 | classic | roadster
  four-speed | | 0 | -.06 | Solex carburetor rebuild
  - 100 1.00 190SL = twin-carbureted 1.9-liter M121 inline-four
Mercedes-Benz | 500E | W124 | 1992-1994 | 42000 | modern | sedan
  | four-speed automatic | 0 | -.08 | engine-harness and throttle-actuator replacement
  - 75 0.95 500E = 5.0-liter M119 V8 @ 1992-1993
  - 25 1.20 E500 = 5.0-liter M119 V8 @ 1994-1994
Mercedes-Benz | sedan | W123 | 1977-1985 | 12500 | luxury | sedan
  | four-speed automatic | 0 | -.02 | valve adjustment and vacuum-system repair
  - 30 0.80 240D = 2.4-liter OM616 diesel inline-four @ 1977-1983
  - 70 1.10 300D = 3.0-liter OM617 diesel inline-five
Mercedes-Benz | SL | R129 | 1990-2002 | 14500 | luxury | roadster
  | five-speed automatic | 0 | -.06 | engine-harness and soft-top-hydraulics repair
  - 85 0.90 SL500 = 5.0-liter M119 V8 @ 1994-1998
  - 10 2.40 SL600 = 6.0-liter M120 V12 @ 1994-2002
Mercedes-Benz | G-Wagen | W463 | 2002-2011 | 47000 | truck | SUV
  | five-speed automatic | 0 | .02 | transfer-case and steering-damper service
  - 60 0.75 G500 = 5.0-liter M113 V8 @ 2002-2008
  - 40 1.35 G55 AMG = supercharged 5.4-liter M113K V8 @ 2005-2011
Volkswagen | Beetle | Type 1 | 1958-1974 | 15500 | small | sedan, convertible*1.5
  four-speed | | 0 | .05 | valve adjustment and carburetor rebuild
  - 100 1.00 Beetle = air-cooled flat-four
Volkswagen | Bus | Type 2 T1 | 1962-1967 | 58000 | truck | van
  four-speed | | 0 | .05 | brake and reduction-box overhaul
  - 60 0.70 Kombi = 1.5-liter air-cooled flat-four
  - 40 1.55 21-Window Deluxe = 1.5-liter air-cooled flat-four
Volkswagen | GTI | Mk1 | 1983-1984 | 14500 | small | hatchback
  close-ratio five-speed | | 0 | .03 | fuel-injection and CV-joint service
  - 100 1.00 Rabbit GTI = 1.8-liter JH inline-four
Audi | Quattro | Type 85 | 1983-1985 | 62000 | modern | coupe
  five-speed | | 0 | -.06 | timing-belt and exhaust-manifold replacement
  - 100 1.00 Ur-Quattro = turbocharged 2.1-liter WX inline-five
Audi | RS4 | B7 | 2007-2008 | 24000 | modern | sedan, cabriolet*0.85
  six-speed | | 0 | -.04 | carbon-cleaning and DRC-damper replacement
  - 100 1.00 RS4 = 4.2-liter FSI V8
Audi | TT | 8N | 2000-2006 | 8200 | modern | coupe, roadster*0.9
  six-speed | | 0 | .00 | timing-belt, tensioner and Haldex service
  - 70 0.85 TT 225 quattro = turbocharged 1.8-liter inline-four
Volvo | 1800 | P1800 | 1961-1973 | 27000 | classic | coupe
  four-speed with overdrive | three-speed automatic | .15 | .02 | SU carburetor and overdrive work
  - 60 0.90 1800S = 1.8-liter B18 inline-four @ 1964-1968 @ m
  - 40 1.05 1800E = fuel-injected 2.0-liter B20 inline-four @ 1970-1972
Volvo | 240 | 200-series | 1984-1993 | 9500 | small | sedan*0.85, wagon*1.1
  five-speed M46 | four-speed AW70 automatic | .14 | .06 | engine-harness and flame-trap service
  - 80 0.90 240 DL = 2.3-liter B230 redblock inline-four
  - 12 1.80 240 Turbo = turbocharged 2.1-liter B21FT redblock inline-four @ 1984-1985
Saab | 900 | C900 | 1985-1993 | 11500 | small | hatchback, convertible*0.85
  five-speed | three-speed automatic | .28 | .00 | gearbox rebuild and head-gasket replacement
  - 70 0.85 900 Turbo = turbocharged 16-valve 2.0-liter H inline-four
  - 18 2.10 900 SPG = turbocharged 16-valve 2.0-liter H inline-four @ 1985-1991 @ mc
Alfa Romeo | Spider | 105/115 | 1971-1993 | 17500 | classic | roadster
  five-speed | | 0 | .00 | water-pump and twin-cam valve service
  - 60 0.95 Spider Veloce = 2.0-liter twin-cam inline-four
  - 25 0.80 Spider Graduate = 2.0-liter twin-cam inline-four @ 1985-1990
Alfa Romeo | GTV | 105-series | 1969-1974 | 52000 | classic | coupe
  five-speed | | 0 | .08 | SPICA injection overhaul
  - 50 0.95 1750 GTV = 1.8-liter twin-cam inline-four @ 1969-1971
  - 50 1.05 2000 GTV = 2.0-liter twin-cam inline-four @ 1972-1974
Fiat | 124 Spider | 124 CS2 | 1974-1985 | 10500 | classic | roadster
  five-speed | three-speed automatic | .15 | .02 | timing-belt and fuel-injection service
  - 60 0.90 124 Spider = 1.8-liter Lampredi twin-cam inline-four @ 1974-1978 @ m
  - 60 1.05 Spider 2000 = 2.0-liter Lampredi twin-cam inline-four @ 1979-1985
Lancia | Delta | Integrale | 1988-1994 | 66000 | modern | hatchback
  five-speed | | 0 | -.08 | timing-belt and transfer-box service
  - 55 0.70 Delta HF Integrale 16V = turbocharged 2.0-liter inline-four @ 1989-1991
  - 45 1.35 Delta HF Integrale Evoluzione = turbocharged 2.0-liter inline-four @ 1992-1994
Ferrari | 308 | Tipo F106 | 1976-1985 | 84000 | exotic | coupe*1.02, targa
  gated five-speed | | 0 | -.14 | engine-out timing-belt service
  - 45 0.95 308 = carbureted 2.9-liter V8 @ 1976-1979
  - 50 1.05 308 QV = four-valve 2.9-liter V8 @ 1983-1985
Ferrari | Testarossa | Tipo F110 | 1985-1991 | 148000 | exotic | coupe
  gated five-speed | | 0 | -.16 | engine-out timing-belt service
  - 100 1.00 Testarossa = 4.9-liter flat-12
Ferrari | F355 | Tipo F129 | 1995-1999 | 112000 | exotic | coupe*1.1, targa, spider*0.85
  gated six-speed | six-speed F1 automated | .42 | -.14 | valve-guide, manifold and belt service
  - 100 1.00 F355 = five-valve 3.5-liter V8 @ 1995-1997 @ m
  - 80 0.95 F355 F1 = five-valve 3.5-liter V8 @ 1998-1999 @ a
Ferrari | 360 | F131 | 2000-2005 | 98000 | exotic | coupe, spider*1.02
  gated six-speed | six-speed F1 automated | .48 | -.12 | timing-belt, variator and clutch service
  - 88 0.90 360 Modena = 3.6-liter F131 V8
  - 12 2.10 360 Challenge Stradale = 425-horsepower 3.6-liter V8 @ 2003-2004 @ ac
Ferrari | Mondial | Tipo F108 | 1983-1993 | 39000 | exotic | coupe, cabriolet
  gated five-speed | | 0 | -.10 | engine-out timing-belt service
  - 60 0.90 Mondial QV = four-valve 2.9-liter V8 @ 1983-1985
  - 40 1.25 Mondial t = longitudinal 3.4-liter V8 @ 1989-1993
Ferrari | Dino | Tipo L/M/E | 1970-1974 | 215000 | exotic | coupe, targa*1.15
  gated five-speed | | 0 | -.14 | carburetor rebuild and valve adjustment
  - 100 1.00 Dino 246 = transverse 2.4-liter V6
Lamborghini | Gallardo | L140 | 2004-2013 | 104000 | exotic | coupe, spyder*1.02
  gated six-speed | six-speed e-gear automated | .52 | -.10 | clutch and e-gear-pump service
  - 60 0.90 Gallardo = 5.0-liter V10 @ 2004-2008
  - 40 1.20 Gallardo LP560-4 = 5.2-liter V10 @ 2009-2013
Maserati | Ghibli | AM115 | 1967-1973 | 165000 | exotic | coupe
  five-speed ZF | three-speed automatic | .20 | -.10 | carburetor and brake overhaul
  - 70 0.90 Ghibli 4.7 = dry-sump 4.7-liter V8
  - 30 1.20 Ghibli SS = dry-sump 4.9-liter V8 @ 1970-1973
Jaguar | E-Type | Series 1 | 1961-1967 | 108000 | classic | coupe*0.9, roadster*1.35
  four-speed Moss | | 0 | .03 | clutch, SU carburetor and brake overhaul
  - 50 1.05 E-Type 3.8 = triple-carbureted 3.8-liter XK inline-six @ 1961-1964
  - 50 1.00 E-Type 4.2 = triple-carbureted 4.2-liter XK inline-six @ 1965-1967
Jaguar | E-Type | Series III | 1971-1974 | 62000 | classic | 2+2 coupe*0.75, roadster*1.15
  four-speed | three-speed automatic | .24 | .00 | cooling-system and Opus-ignition overhaul
  - 100 1.00 E-Type V12 = 5.3-liter V12
Jaguar | XJS | facelift | 1992-1996 | 15500 | luxury | coupe, convertible*1.1
  | four-speed automatic | 0 | -.04 | cooling-system and fuel-hose service
  - 70 0.85 XJS 4.0 = 4.0-liter AJ6 inline-six
  - 30 1.25 XJS V12 = 6.0-liter V12 @ 1994-1995
Aston Martin | DB7 | Ford-era | 1997-2003 | 33000 | exotic | coupe, Volante*1.05
  six-speed | five-speed automatic | .34 | -.08 | supercharger and cooling-system service
  - 50 0.75 DB7 = supercharged 3.2-liter inline-six @ 1997-1999
  - 50 1.15 DB7 Vantage = 5.9-liter V12 @ 2000-2003
Aston Martin | V8 Vantage | VH | 2006-2012 | 47000 | exotic | coupe, roadster*1.02
  six-speed Graziano | six-speed Sportshift automated | .30 | -.08 | clutch and timing-cover reseal
  - 55 0.88 V8 Vantage = 4.3-liter AJ37 V8 @ 2006-2008
  - 45 1.12 V8 Vantage = 4.7-liter V8 @ 2009-2012
Lotus | Elise | S2 | 2005-2011 | 33000 | modern | roadster
  close-ratio six-speed | | 0 | .00 | cam-wiper and clutch service
  - 75 0.95 Elise = 1.8-liter 2ZZ-GE inline-four
  - 25 1.25 Elise SC = supercharged 1.8-liter 2ZZ-GE inline-four @ 2008-2011
Triumph | TR6 | CP/CC/CF | 1969-1976 | 18500 | classic | roadster
  four-speed | | 0 | .03 | Stromberg carburetor and overdrive rebuild
  - 100 1.00 TR6 = 2.5-liter inline-six
Triumph | Spitfire | Mk IV | 1971-1980 | 8200 | classic | roadster
  four-speed | | 0 | .02 | clutch and carburetor service
  - 100 1.00 Spitfire = pushrod inline-four
MG | MGB | chrome-bumper | 1963-1974 | 14500 | classic | roadster, GT coupe*0.85
  four-speed with overdrive | | 0 | .04 | SU carburetor and kingpin service
  - 100 1.00 MGB = 1.8-liter B-series inline-four
MG | MGA | pushrod-era | 1956-1962 | 25000 | classic | roadster, coupe*0.9
  four-speed | | 0 | .03 | SU carburetor and kingpin service
  - 60 0.90 MGA 1500 = 1.5-liter B-series inline-four @ 1956-1959
  - 40 1.00 MGA 1600 = 1.6-liter B-series inline-four @ 1959-1962
  - 8 1.70 MGA Twin Cam = twin-cam 1.6-liter inline-four @ 1958-1960
Austin-Healey | 3000 | BJ8 | 1964-1967 | 56000 | classic | roadster
  four-speed with overdrive | | 0 | .02 | SU carburetor and overdrive rebuild
  - 100 1.00 3000 Mk III = 2.9-liter inline-six
Land Rover | Defender | NAS | 1993-1997 | 88000 | truck | SUV
  five-speed | four-speed ZF automatic | -.05 | .02 | bulkhead repair and transfer-case reseal
  - 60 0.85 Defender 90 = 3.9-liter Rover V8 @ 1994-1997
  - 40 1.40 Defender 110 = 3.9-liter Rover V8 @ 1993-1993 @ m
Land Rover | Series IIA | 12-volt | 1962-1971 | 24000 | truck | SUV
  four-speed | | 0 | .02 | swivel-ball and overdrive rebuild
  - 70 0.95 88 Station Wagon = 2.25-liter inline-four
  - 30 1.20 109 Station Wagon = 2.25-liter inline-four
Toyota | Land Cruiser | FJ40 | 1965-1983 | 37000 | truck | SUV
  four-speed H41/H42 | | 0 | .08 | knuckle rebuild and carburetor service
  - 40 0.90 Land Cruiser = 3.9-liter F inline-six @ 1965-1974
  - 60 1.15 Land Cruiser = 4.2-liter 2F inline-six @ 1975-1983
Toyota | Land Cruiser | 60-series | 1981-1990 | 26000 | truck | wagon
  four-speed H42 | four-speed automatic | .10 | .06 | knuckle rebuild and desmog service
  - 55 0.95 Land Cruiser = 4.2-liter 2F inline-six @ 1981-1987 @ m
  - 45 1.10 Land Cruiser = fuel-injected 4.0-liter 3F-E inline-six @ 1988-1990 @ a
Toyota | Corolla | AE86 | 1985-1987 | 19500 | small | coupe, hatchback*1.1
  five-speed T50 | four-speed automatic | .40 | .15 | timing-belt and clutch service
  - 100 1.05 Corolla GT-S = 16-valve 1.6-liter 4A-GE inline-four
Toyota | Supra | A80 | 1993-1998 | 82000 | modern | coupe, targa*1.02
  six-speed Getrag V160 | four-speed automatic | .48 | .02 | timing-belt and turbo-plumbing service
  - 35 0.55 Supra = naturally aspirated 3.0-liter 2JZ-GE inline-six
  - 65 1.20 Supra Turbo = twin-turbocharged 3.0-liter 2JZ-GTE inline-six
Toyota | MR2 | AW11 | 1985-1989 | 13500 | small | coupe, T-top coupe*1.05
  five-speed C52 | four-speed automatic | .30 | .03 | timing-belt and coolant-pipe service
  - 70 0.85 MR2 = mid-mounted 1.6-liter 4A-GE inline-four
  - 30 1.45 MR2 Supercharged = supercharged 1.6-liter 4A-GZE inline-four @ 1988-1989
Datsun | Z | S30 | 1970-1978 | 26000 | classic | coupe
  four-speed | three-speed automatic | .25 | .12 | SU carburetor and valve service
  - 60 1.25 240Z = 2.4-liter L24 inline-six @ 1970-1973
  - 20 0.85 260Z = 2.6-liter L26 inline-six @ 1974-1974
  - 35 0.75 280Z = fuel-injected 2.8-liter L28 inline-six @ 1975-1978
Datsun | 510 | PL510 | 1968-1973 | 19000 | small | sedan, wagon*0.85
  four-speed | three-speed automatic | .25 | .18 | carburetor and valve service
  - 100 1.00 510 = 1.6-liter L16 inline-four
Nissan | Skyline | R32 | 1989-1994 | 44000 | modern | coupe | rhd
  five-speed | | 0 | .04 | timing-belt and oil-pump service
  - 20 0.50 Skyline GTS-t Type M = turbocharged 2.0-liter RB20DET inline-six
  - 75 1.00 Skyline GT-R = twin-turbocharged 2.6-liter RB26DETT inline-six
  - 8 1.65 Skyline GT-R V-Spec = twin-turbocharged 2.6-liter RB26DETT inline-six @ 1993-1994
Nissan | 300ZX | Z32 | 1990-1996 | 17500 | modern | coupe, T-top coupe
  five-speed | four-speed automatic | .30 | .00 | timing-belt and injector service
  - 45 0.70 300ZX = 3.0-liter VG30DE V6
  - 55 1.30 300ZX Twin Turbo = twin-turbocharged 3.0-liter VG30DETT V6
Mazda | Miata | NA | 1990-1997 | 9800 | small | roadster
  five-speed | four-speed automatic | .25 | .06 | timing-belt and slave-cylinder service
  - 50 0.95 MX-5 Miata = 1.6-liter B6ZE inline-four @ 1990-1993
  - 50 1.00 MX-5 Miata = 1.8-liter BP inline-four @ 1994-1997
  - 10 1.50 MX-5 Miata M Edition = 1.8-liter BP inline-four @ 1994-1997
Mazda | RX-7 | FD3S | 1993-1995 | 41000 | modern | coupe
  five-speed | four-speed automatic | .40 | .03 | rotary compression test and vacuum-hose overhaul
  - 70 0.90 RX-7 Touring = sequentially turbocharged 1.3-liter 13B-REW rotary
  - 30 1.35 RX-7 R1 = sequentially turbocharged 1.3-liter 13B-REW rotary @ 1993-1993 @ m
Mazda | RX-7 | FB | 1979-1985 | 12500 | small | coupe
  five-speed | three-speed automatic | .25 | .05 | carburetor rebuild and apex-seal check
  - 70 0.90 RX-7 GSL = 1.1-liter 12A rotary
  - 30 1.35 RX-7 GSL-SE = fuel-injected 1.3-liter 13B rotary @ 1984-1985 @ m
Honda | S2000 | AP1/AP2 | 2000-2009 | 27000 | modern | roadster
  six-speed | | 0 | -.12 | valve-adjustment and clutch service
  - 50 0.95 S2000 = 9,000-rpm 2.0-liter F20C inline-four @ 2000-2003
  - 47 1.05 S2000 = 2.2-liter F22C inline-four @ 2004-2009
  - 5 2.10 S2000 CR = 2.2-liter F22C inline-four @ 2008-2009
Honda | CRX | EF8 | 1988-1991 | 12500 | small | hatchback
  five-speed | | 0 | .00 | timing-belt and main-relay service
  - 100 1.00 CRX Si = 1.6-liter D16A6 inline-four
Acura | NSX | NA1 | 1991-1996 | 86000 | exotic | coupe, targa*0.98
  five-speed | four-speed automatic | .44 | -.14 | timing-belt, water-pump and ABS service
  - 100 1.00 NSX = mid-mounted 3.0-liter C30A V6
Acura | Integra | DC2 | 1997-2001 | 36000 | modern | hatchback
  close-ratio five-speed | | 0 | -.22 | timing-belt and distributor service
  - 100 1.00 Integra Type R = hand-finished 1.8-liter B18C5 inline-four
Subaru | Impreza | GD | 2004-2007 | 22500 | modern | sedan
  six-speed | | 0 | -.10 | timing-belt and head-gasket service
  - 100 1.00 Impreza WRX STI = turbocharged 2.5-liter EJ257 flat-four
Mitsubishi | Lancer Evolution | CT9A | 2003-2006 | 26500 | modern | sedan
  five-speed | | 0 | -.06 | timing-belt and transfer-case service
  - 55 0.85 Lancer Evolution VIII = turbocharged 2.0-liter 4G63 inline-four @ 2003-2005
  - 45 1.25 Lancer Evolution IX = turbocharged 2.0-liter 4G63 MIVEC inline-four @ 2006-2006
Chevrolet | Corvette | C2 | 1963-1967 | 84000 | muscle | coupe*1.1, convertible
  four-speed Muncie | two-speed Powerglide automatic | .22 | -.08 | carburetor and trailing-arm work
  - 60 0.85 Corvette 327/300 = 327ci L75 V8
  - 25 1.10 Corvette 327/350 = 327ci L79 V8 @ 1965-1967 @ m
  - 15 1.70 Corvette 427/390 = 427ci L36 big-block V8 @ 1966-1967
Chevrolet | Corvette | C3 | 1968-1982 | 21000 | muscle | T-top coupe
  four-speed Muncie | three-speed TH350 automatic | .20 | .02 | carburetor and headlight-vacuum work
  - 55 1.35 Corvette Stingray 350 = 350ci L48 V8 @ 1969-1974
  - 14 2.50 Corvette Stingray 454 = 454ci LS5 big-block V8 @ 1970-1972
  - 50 0.75 Corvette L82 = 350ci L82 V8 @ 1975-1980
Chevrolet | Corvette | C4 | 1990-1996 | 13000 | modern | coupe, convertible*1.05
  six-speed ZF | four-speed automatic | .18 | -.02 | Opti-Spark and cooling-system service
  - 75 0.80 Corvette = 5.7-liter LT1 V8 @ 1992-1996
  - 20 1.95 Corvette ZR-1 = quad-cam 5.7-liter LT5 V8 @ 1990-1995 @ mc
Chevrolet | Camaro | first-generation | 1967-1969 | 52000 | muscle | coupe, convertible*1.12
  four-speed Muncie | two-speed Powerglide automatic | .20 | .06 | carburetor and front-end rebuild
  - 45 0.70 Camaro = 327ci small-block V8
  - 40 1.10 Camaro SS 350 = 350ci L48 V8
  - 12 1.70 Camaro Z/28 = solid-lifter 302ci V8 @ @ mc
Chevrolet | Chevelle | A-body | 1968-1972 | 48000 | muscle | coupe, convertible*1.2
  four-speed Muncie | three-speed TH350 automatic | .20 | .02 | carburetor and front-end rebuild
  - 45 0.70 Chevelle Malibu = 350ci small-block V8
  - 45 1.25 Chevelle SS 396 = 396ci big-block V8 @ 1968-1970
  - 10 2.10 Chevelle SS 454 = 454ci LS5 big-block V8 @ 1970-1971
Chevrolet | C10 | Action Line | 1967-1972 | 31000 | truck | pickup
  three-speed | three-speed Turbo-Hydramatic automatic | .04 | .25 | steering-box and brake overhaul
  - 70 0.95 C10 = 350ci small-block V8
  - 30 1.15 C10 Cheyenne Super = 350ci small-block V8 @ 1971-1972
Pontiac | GTO | A-body | 1964-1967 | 57000 | muscle | coupe, convertible*1.3
  four-speed Muncie | two-speed automatic | .20 | -.04 | carburetor and front-end rebuild
  - 65 0.85 GTO = 389ci V8 @ 1964-1966
  - 25 1.35 GTO Tri-Power = triple-carbureted 389ci V8 @ 1964-1966 @ m
Pontiac | Firebird | second-generation | 1973-1979 | 30000 | muscle | coupe
  four-speed | three-speed Turbo-Hydramatic automatic | .26 | .04 | carburetor and shaker-scoop service
  - 45 0.60 Firebird Esprit = 350ci V8
  - 50 1.30 Firebird Trans Am = 400ci V8
  - 6 3.00 Firebird Trans Am SD-455 = 455ci Super Duty V8 @ 1973-1974
Buick | Regal | G-body | 1986-1987 | 34000 | muscle | coupe
  | four-speed 200-4R automatic | 0 | -.12 | turbo rebuild and Powermaster-brake repair
  - 88 0.95 Regal Grand National = turbocharged 3.8-liter LC2 V6
  - 7 2.60 Regal GNX = turbocharged 3.8-liter V6 @ 1987-1987
Ford | Mustang | first-generation | 1965-1968 | 33000 | muscle | coupe*0.75, fastback*1.4, convertible
  four-speed Toploader | three-speed C4 automatic | .18 | .08 | carburetor and front-suspension rebuild
  - 60 0.85 Mustang = 289ci Windsor V8
  - 25 1.20 Mustang GT = four-barrel 289ci Windsor V8
  - 8 2.00 Mustang GT 390 = 390ci FE big-block V8 @ 1967-1968
Ford | Mustang | Fox-body | 1987-1993 | 16500 | muscle | hatchback, convertible*0.85, notchback*1.15
  five-speed T-5 | four-speed AOD automatic | .28 | .02 | clutch and cooling-system service
  - 75 0.90 Mustang 5.0 = 302ci High Output V8
  - 8 2.30 Mustang SVT Cobra = GT-40-headed 302ci V8 @ 1993-1993 @ mc
Ford | Bronco | first-generation | 1966-1977 | 64000 | truck | SUV
  three-speed | three-speed automatic | -.06 | .20 | steering-box and Dana-axle rebuild
  - 40 0.85 Bronco Sport = 289ci V8 @ 1966-1968 @ m
  - 60 1.10 Bronco Ranger = 302ci V8 @ 1973-1977
Ford | Thunderbird | Baby Bird | 1955-1957 | 33000 | luxury | roadster
  three-speed with overdrive | Ford-O-Matic automatic | .10 | -.06 | carburetor and brake overhaul
  - 60 0.95 Thunderbird = 292ci Y-block V8
  - 40 1.10 Thunderbird = 312ci Y-block V8 @ 1956-1957
Dodge | Challenger | E-body | 1970-1974 | 58000 | muscle | coupe
  pistol-grip four-speed | three-speed TorqueFlite automatic | .24 | -.02 | carburetor and torsion-bar rebuild
  - 60 0.75 Challenger = 318ci V8
  - 30 1.30 Challenger R/T 383 = 383ci Magnum V8 @ 1970-1971
  - 10 2.20 Challenger R/T 440 Six Pack = triple-carbureted 440ci V8 @ 1970-1971
Dodge | Viper | SR II | 1996-2002 | 56000 | exotic | coupe*1.1, roadster*0.85
  six-speed Tremec T-56 | | 0 | -.10 | head-gasket and differential service
  - 80 0.90 Viper = 8.0-liter V10
  - 20 1.35 Viper ACR = 460-horsepower 8.0-liter V10 @ 1999-2002 @ c
Plymouth | Barracuda | E-body | 1970-1974 | 66000 | muscle | coupe
  pistol-grip four-speed | three-speed TorqueFlite automatic | .24 | -.04 | carburetor and torsion-bar rebuild
  - 60 0.70 Barracuda = 318ci V8
  - 35 1.20 'Cuda 340 = 340ci V8
  - 8 2.60 'Cuda 440-6 = triple-carbureted 440ci V8 @ 1970-1971
Oldsmobile | 442 | A-body | 1968-1972 | 41000 | muscle | coupe, convertible*1.35
  four-speed Muncie | three-speed TH350 automatic | .24 | -.06 | carburetor and front-end rebuild
  - 60 0.90 442 = 400ci V8 @ 1968-1969
  - 60 1.10 442 = 455ci V8 @ 1970-1972
  - 12 1.90 442 W-30 = 455ci W-30 V8 @ 1970-1972
Cadillac | Eldorado | front-drive | 1968-1976 | 15500 | luxury | coupe, convertible*1.3
  | three-speed Turbo-Hydramatic automatic | 0 | -.06 | carburetor and climate-control repair
  - 50 1.00 Eldorado = 472ci V8 @ 1968-1969 @ c
  - 60 0.90 Eldorado = 500ci V8 @ 1971-1976
Jeep | Grand Wagoneer | SJ | 1984-1991 | 30000 | truck | SUV
  | three-speed TorqueFlite automatic | 0 | .00 | headliner and carburetor rebuild
  - 100 1.00 Grand Wagoneer = 360ci AMC V8
Jeep | CJ-7 | AMC-era | 1976-1986 | 18000 | truck | SUV
  four-speed | three-speed automatic | .08 | .06 | carburetor and axle service
  - 60 0.90 CJ-7 Renegade = 4.2-liter AMC inline-six
  - 40 1.15 CJ-7 Laredo = 4.2-liter AMC inline-six @ 1980-1986
International | Scout | second-generation | 1971-1980 | 33000 | truck | SUV
  four-speed T-19 | three-speed automatic | .06 | .12 | steering-box and Dana 44 service
  - 60 0.90 Scout II = 304ci V8
  - 40 1.15 Scout II Rallye = 345ci V8 @ 1975-1980
DeLorean | DMC-12 | gullwing | 1981-1983 | 52000 | modern | coupe
  five-speed | three-speed automatic | .18 | -.10 | fuel-tank, K-Jetronic and door-strut service
  - 100 1.00 DMC-12 = 2.8-liter PRV V6
"""


def wordings(text: str) -> tuple[str, ...]:
    """Split ``one ~ another`` into the ways to say one thing."""
    return tuple(part.strip() for part in text.split("~"))


@cache
def dated(table: str) -> tuple[Dated, ...]:
    """Read a table of dated facts, entries apart by ``;`` or line."""
    rows = []
    for entry in filter(str.strip, re.split(r"[;\n]", table)):
        text, years, *effect = (part.strip() for part in entry.split("@"))
        first, last = years.split("-")
        rows.append(
            Dated(wordings(text), int(first), int(last), float(effect[0]) if effect else 0.0)
        )
    return tuple(rows)


def _version(line: str, years: tuple[int, int]) -> Version:
    """Read ``- weight factor name = engine [@ years [@ limits]]``."""
    head, engine = line.split(" = ")
    _, weight, factor, name = head.split(maxsplit=3)
    engine, *rest = (part.strip() for part in engine.split("@"))
    span = [int(year) for year in rest[0].split("-")] if rest and rest[0] else years
    limits = rest[1] if len(rest) > 1 else ""
    return Version(name, engine, float(weight), float(factor), span[0], span[1], limits)


def _body(text: str) -> tuple[str, float]:
    """Read ``roadster*1.3``."""
    name, _, factor = text.strip().partition("*")
    return name, float(factor or 1)


@cache
def models() -> tuple[Model, ...]:
    """Every model of the table, in its order."""
    rows = []
    for block in re.split(r"\n(?=\S)", MODELS.strip()):
        top, gears, *versions = block.splitlines()
        make, name, code, span, value, kind, bodies, *flags = (p.strip() for p in top.split("|"))
        manual, automatic, stick, mods, job = (part.strip() for part in gears.split("|"))
        years = (int(span[:4]), int(span[5:]))
        rows.append(
            Model(
                *(make, name, code, *years, float(value), kind),
                bodies=tuple(_body(body) for body in bodies.split(",")),
                imported=bool(flags),
                manual=manual,
                automatic=automatic,
                stick=float(stick),
                mods=float(mods),
                job=job,
                versions=tuple(_version(line.strip(), years) for line in versions),
            )
        )
    return tuple(rows)


# Colours by maker; the effect is that of a sought-after or an unloved colour.
COLOURS = {
    "Porsche": """Guards Red @ 1973-2012; Grand Prix White @ 1974-1995
        Irish Green @ 1960-1973 @ .10
        Slate Gray @ 1960-1972 @ .10; Signal Orange @ 1969-1973 @ .06; Silver Metallic @ 1960-1975
        Arena Red @ 1993-1998 @ .02; Polar Silver @ 1992-2001; Speed Yellow @ 1993-2006 @ .08
        Riviera Blue @ 1993-1998 @ .15; Seal Gray @ 1999-2012; Black @ 1976-2012
        Mocha Brown @ 1976-1982 @ -.04; Minerva Blue @ 1976-1981 @ .06; Ivory @ 1960-1968""",
    "BMW": """Alpine White @ 1978-2006; Inka Orange @ 1970-1975 @ .06; Golf Yellow @ 1973-1976 @ .04
        Malaga @ 1968-1979; Fjord Blue @ 1971-1977 @ .03; Polaris @ 1968-1985; Chamonix @ 1968-1978
        Henna Red @ 1983-1989 @ .03; Delphin Metallic @ 1984-1991; Diamond Black @ 1984-1993
        Estoril Blue @ 1994-2002 @ .06; Dakar Yellow @ 1992-1999 @ .12; Hellrot @ 1991-1999
        Arctic Silver @ 1995-1999; Imola Red @ 1999-2006 @ .06; Laguna Seca Blue @ 1999-2006 @ .15
        Titanium Silver @ 1998-2006; Carbon Black @ 1999-2006; Le Mans Blue @ 1999-2003 @ .06""",
    "Mercedes-Benz": """White @ 1955-2012; Tobacco Brown @ 1963-1979 @ -.02
        Horizon Blue @ 1956-1972
        Papyrus White @ 1963-1974; Signal Red @ 1963-1989 @ .02; Anthracite Gray @ 1965-1983 @ .03
        Moss Green @ 1967-1981 @ .03; Mimosa Yellow @ 1972-1981 @ -.02; Smoke Silver @ 1984-2000
        Champagne Metallic @ 1981-1991; Blue-Black @ 1985-2004; Brilliant Silver @ 1990-2012
        Obsidian Black @ 1996-2012; Manganese Brown @ 1980-1986 @ -.03""",
    "Ferrari": """Rosso Corsa @ 1968-2006; Giallo Modena @ 1994-2006 @ .04
        Giallo Fly @ 1968-1993 @ .05
        Nero @ 1976-2006 @ .02; Argento Metallizzato @ 1969-1993 @ .03
        Blu Tour de France @ 1995-2006
        Azzurro Metallizzato @ 1970-1989 @ .07; Grigio Titanio @ 1998-2006 @ .02""",
    "Jaguar": """British Racing Green @ 1961-1996 @ .04; Carmen Red @ 1961-1967
        Old English White @ 1961-1974
        Opalescent Silver Blue @ 1961-1967 @ .05; Regency Red @ 1971-1996; Primrose @ 1965-1974
        Fern Gray @ 1971-1974; Kingfisher Blue @ 1991-1996 @ .02; Flamenco Red @ 1991-1996""",
    "Toyota": """Super White @ 1983-1998; Renaissance Red @ 1993-1998
        Royal Sapphire Pearl @ 1996-1998 @ .06
        Panda white over black @ 1985-1987 @ .08; Beige @ 1965-1983; Freeborn Red @ 1965-1990 @ .03
        Rustic Green @ 1965-1983 @ .03; Sky Blue @ 1968-1983 @ .05; Black @ 1985-1998
        Feather Gray Metallic @ 1981-1990; Olive Metallic @ 1976-1990 @ .02""",
    "Honda": """Grand Prix White @ 2000-2009; New Formula Red @ 2000-2005; Berlina Black @ 2000-2009
        Rio Red @ 1988-1991; Suzuka Blue @ 2002-2003 @ .08; Spa Yellow @ 2000-2005 @ .05
        Superman Blue @ 1988-1991 @ .02; Silverstone Metallic @ 2000-2006""",
    "Acura": """Formula Red @ 1991-1996; Berlina Black @ 1991-1996
        Championship White @ 1997-2001 @ .06
        Phoenix Yellow @ 2000-2001 @ .06; Flamenco Black @ 1998-2001; Sebring Silver @ 1991-1994
        Brooklands Green @ 1994-1996 @ .08""",
    "Nissan": """Gun Gray @ 1989-1994; Crystal White @ 1989-1994; Jet Silver @ 1989-1994
        Super Red @ 1990-1996
        Cherry Red Pearl @ 1990-1996; Super Black @ 1989-1996; Midnight Purple @ 1993-1996 @ .15""",
    "Datsun": """New Sight Orange @ 1968-1978 @ .03; Racing Green @ 1968-1978 @ .05
        Silver @ 1968-1978
        Safari Gold @ 1970-1975 @ .02; White @ 1968-1978; Monte Carlo Red @ 1968-1978""",
    "Mazda": """Classic Red @ 1979-1997; Mariner Blue @ 1990-1993 @ .02; Crystal White @ 1979-1997
        Brilliant Black @ 1984-1997; Montego Blue @ 1993-1997 @ .04
        Sunburst Yellow @ 1992-1992 @ .10
        Vintage Red @ 1993-1995; Tornado Silver @ 1979-1985""",
    "Chevrolet": """Rally Red @ 1963-1967; Riverside Red @ 1963-1964; Nassau Blue @ 1965-1966 @ .04
        Hugger Orange @ 1969-1970 @ .07; LeMans Blue @ 1968-1971 @ .04
        Tuxedo Black @ 1963-1971 @ .04
        Fathom Green @ 1968-1970 @ .04; Ermine White @ 1963-1968; Cortez Silver @ 1968-1973
        Classic White @ 1969-1983; Mille Miglia Red @ 1972-1976; Torch Red @ 1992-1996
        Bright Aqua Metallic @ 1990-1994; Dark Red Metallic @ 1976-1996; Polo Green @ 1991-1996""",
    "Ford": """Wimbledon White @ 1964-1977; Candyapple Red @ 1966-1973; Poppy Red @ 1965-1966 @ .03
        Nightmist Blue @ 1966-1968; Highland Green @ 1967-1968 @ .08; Raven Black @ 1955-1973 @ .03
        Colonial White @ 1955-1957; Thunderbird Blue @ 1955-1957 @ .02; Vibrant Red @ 1987-1993
        Oxford White @ 1987-1993; Reef Blue @ 1990-1993; Viking Red @ 1973-1977
        Torch Red @ 1955-1956""",
    "Dodge": """Plum Crazy @ 1970-1971 @ .12; Hemi Orange @ 1970-1971 @ .10; Bright Red @ 1970-1974
        Top Banana @ 1970-1972 @ .05; Light Green Metallic @ 1970-1974; GTS Blue @ 1996-1998 @ .07
        Viper Red @ 1996-2002; Sapphire Blue @ 2001-2002; Black @ 1970-2002""",
    "Plymouth": """In-Violet @ 1970-1971 @ .12; Vitamin C @ 1970-1971 @ .09; Rallye Red @ 1970-1974
        Lemon Twist @ 1970-1974 @ .05; Sassy Grass Green @ 1970-1971 @ .10
        Alpine White @ 1970-1974""",
    "Volkswagen": """L456 Ruby Red @ 1958-1963; Pearl White @ 1960-1967; Sea Blue @ 1960-1967 @ .03
        Java Green @ 1964-1967 @ .04; Mango Green @ 1958-1963; Kansas Beige @ 1970-1974
        Marina Blue @ 1969-1974; Mars Red @ 1974-1984; Black @ 1958-1984
        Cashmere White @ 1983-1984""",
}
COLOURS |= {
    "British": """British Racing Green @ 1955-2012 @ .02; Signal Red @ 1960-1974
        Old English White @ 1955-1974
        Iris Blue @ 1955-1967 @ .02; Healey Blue @ 1955-1967 @ .06; Pimento Red @ 1969-1976
        Damask Red @ 1967-1976; Mallard Blue @ 1969-1980; Inca Yellow @ 1974-1980 @ -.02
        Glacier White @ 1970-1980; Bronze Green @ 1962-1971 @ .03; Limestone @ 1962-1971
        Racing Silver @ 1997-2009; Mendip Blue @ 1997-2003
        Tungsten Silver @ 1999-2012; Onyx Black @ 2001-2012; Titanium Gray @ 1997-2012""",
    "Italian": """Rosso @ 1967-1994; Bianco @ 1967-1994; Azzurro @ 1967-1978 @ .03
        Blu Sera @ 1967-1994 @ .03
        Argento @ 1967-1985; Giallo Ginestra @ 1974-1994 @ .08; Nero @ 1967-1994
        Verde Scuro @ 1974-1991 @ .04""",
    "Nordic": """California White @ 1961-1989; Cherry Red @ 1961-1973
        Safari Yellow @ 1970-1973 @ .03
        Light Blue @ 1984-1993; Dark Teal @ 1984-1993; Black @ 1984-1993; Talladega Red @ 1986-1993
        Edwardian Gray @ 1985-1991 @ .04; Ruby Red Metallic @ 1984-1993; Dark Green @ 1964-1973""",
    "American": """Cameo White @ 1964-1978; Montero Red @ 1964-1967
        Starlight Black @ 1964-1979 @ .04
        Nocturne Blue @ 1966-1972; Aztec Gold @ 1968-1979; Rallye Red @ 1968-1973
        Black @ 1981-1991 @ .02
        Sable Brown @ 1973-1980 @ -.04; Grenoble Green @ 1971-1980; Winter White @ 1971-1983
        Dark Blue Metallic @ 1976-1991; Buccaneer Red @ 1973-1979; Glacier Blue @ 1971-1980""",
    "Alfa Romeo": """Rosso Alfa @ 1969-1993; Bianco Spino @ 1969-1993; Giallo Ocra @ 1969-1975 @ .08
        Verde Pino @ 1969-1978 @ .08; Blu Olandese @ 1969-1985 @ .04; Silver @ 1975-1993""",
    "Lamborghini": """Verde Ithaca @ 2004-2013 @ .09; Arancio Borealis @ 2004-2013 @ .08
        Grigio Telesto @ 2004-2013; Nero Noctis @ 2004-2013; Giallo Midas @ 2004-2013 @ .04""",
    "Lotus": """Ardent Red @ 2005-2011; Krypton Green @ 2005-2011 @ .06
        Chrome Orange @ 2005-2011 @ .04
        Storm Titanium @ 2005-2011; Starlight Black @ 2005-2011""",
    "Land Rover": """Bronze Green @ 1962-1971 @ .03; Limestone @ 1962-1971
        Marine Blue @ 1962-1971 @ .02
        Coniston Green @ 1993-1997 @ .06; Beluga Black @ 1993-1997; Arles Blue @ 1993-1997 @ .08
        Alpine White @ 1993-1997; AA Yellow @ 1994-1997 @ .05""",
    "Subaru": """World Rally Blue @ 2004-2007 @ .05; Aspen White @ 2004-2007
        Obsidian Black @ 2004-2007
        Crystal Gray Metallic @ 2004-2007""",
    "Mitsubishi": """Apex Silver @ 2003-2006; Wicked White @ 2003-2006; Rally Red @ 2003-2006
        Tarmac Black @ 2003-2006; Blue by You @ 2003-2006 @ .05""",
    "DeLorean": "brushed stainless steel @ 1981-1983",
    "Audi": """Nogaro Blue @ 2000-2002 @ .06; Tornado Red @ 1983-1985; Alpine White @ 1983-1985
        Zermatt Silver @ 1983-1985; Sprint Blue @ 2006-2008 @ .06; Phantom Black @ 2000-2008
        Avus Silver @ 2000-2008; Moro Blue @ 2000-2005; Ibis White @ 2006-2008""",
}
# Makers without a palette of their own.
PALETTE_OF = {
    **dict.fromkeys(["Aston Martin", "Triumph", "MG", "Austin-Healey"], "British"),
    **dict.fromkeys(["Fiat", "Lancia", "Maserati"], "Italian"),
    **dict.fromkeys(["Volvo", "Saab"], "Nordic"),
    **dict.fromkeys(
        ["Pontiac", "Buick", "Oldsmobile", "Cadillac", "Jeep", "International"], "American"
    ),
}

# Interiors: some makers' own, and by period for the rest.
INTERIORS = {
    "DeLorean": "gray leather @ 1981-1983; black leather @ 1981-1983",
    "Porsche": """black leatherette @ 1960-1989; Cashmere Beige leather @ 1984-2004
        Can Can Red leather @ 1980-1989 @ .04
        Classic Gray leather @ 1989-1998; black leather @ 1976-2012; Pasha cloth @ 1977-1983 @ .06
        Cork leather @ 1974-1983; Graphite Gray leather @ 1999-2004""",
    "BMW": """black vinyl @ 1968-1977; Navy vinyl @ 1968-1977
        Cardinal Red leather @ 1983-1991 @ .04
        Natur leather @ 1983-1991; Anthracite cloth @ 1984-1991; black Nappa leather @ 1991-2006
        Imola Red leather @ 2000-2006 @ .05; Dove leather @ 1992-1999
        Modena leather @ 1994-1999""",
    "Mercedes-Benz": """Cognac MB-Tex @ 1963-1985 @ .01; Parchment MB-Tex @ 1967-1989
        black leather @ 1955-2012
        Red leather @ 1956-1971 @ .04; Palomino MB-Tex @ 1976-1989; Java leather @ 1990-2004""",
    "Ferrari": """tan Connolly leather @ 1968-2006; Nero leather @ 1968-2006
        Crema leather @ 1976-2006
        Bordeaux leather @ 1976-2003 @ .03""",
    "exotic": """black leather @ 1967-2013; tan leather @ 1967-2013; Rosso leather @ 1967-2013 @ .03
        two-tone leather @ 1984-2013; charcoal Alcantara @ 1995-2013 @ .03""",
    "any": """black vinyl @ 1955-1989; red vinyl @ 1955-1975 @ .01; parchment vinyl @ 1964-1979
        saddle vinyl @ 1963-1980
        white vinyl @ 1958-1975; biscuit leather @ 1958-2012; black leather @ 1958-2013
        black cloth @ 1976-2009; gray cloth @ 1981-2004; houndstooth cloth @ 1968-1979 @ .03
        navy cloth @ 1978-1993; burgundy velour @ 1976-1992 @ -.02
        oxblood leather @ 1961-1978 @ .03
        tan leather @ 1985-2012; black Alcantara @ 1995-2012 @ .03""",
}
# Wheels by maker; the last entries serve everyone.
WHEELS = {
    "DeLorean": "14-inch and 15-inch turbine-style alloys ~ staggered gray alloys @ 1981-1983",
    "Porsche": """15" Fuchs alloys @ 1969-1989 @ .04; 16" Fuchs wheels @ 1980-1989 @ .03
        painted steel wheels @ 1960-1968
        16" Design 90 alloys @ 1990-1992; 17" Cup wheels @ 1992-1996 @ .02
        18" Turbo Twist wheels @ 1997-2004
        cookie-cutter alloys @ 1974-1985; phone-dial alloys @ 1986-1991
        chrome steel wheels @ 1960-1967""",
    "BMW": """14" bottlecap alloys @ 1984-1991; 14" basketweave BBS wheels @ 1984-1991 @ .02
        13" steel wheels @ 1968-1976
        Alpina-style 20-spoke alloys @ 1971-1988 @ .03; 17" Style 24 Contour wheels @ 1995-1999
        18" Style 65 wheels @ 1999-2003; 19" Style 67 forged wheels @ 2001-2006 @ .02
        17" Roadstar alloys @ 1998-2002""",
    "Mercedes-Benz": """15" Bundt alloys @ 1972-1989; body-color hubcaps @ 1956-1979
        16" Gullideckel alloys @ 1990-1998
        18" AMG Monoblock wheels @ 1990-2005 @ .03; 18" five-spoke alloys @ 1996-2012""",
    "Ferrari": """14" Cromodora five-spoke wheels @ 1969-1982
        16" five-spoke Speedline wheels @ 1980-1993
        18" five-spoke alloys @ 1994-2006; 19" BBS modular wheels @ 1999-2006 @ .03""",
    "Mazda": """14" daisy alloys @ 1990-1993; 14" seven-spoke alloys @ 1984-1997
        16" five-spoke alloys @ 1992-1997""",
    "Toyota": """15" steel wheels @ 1965-1990; 16" five-spoke alloys @ 1993-1998
        Watanabe RS8 wheels @ 1965-1988 @ .04
        14" alloys @ 1983-1989""",
    "Chevrolet": """15" Rally wheels @ 1967-1982; knock-off alloys @ 1963-1966 @ .04
        17" sawblade alloys @ 1990-1996
        SS five-spoke wheels @ 1968-1972; 15" steel wheels with poverty caps @ 1963-1972""",
    "Ford": """14" Styled Steel wheels @ 1965-1968; pony alloys @ 1991-1993 @ .02
        ten-hole alloys @ 1987-1990
        15" slotted mag wheels @ 1966-1977; wire wheel covers @ 1955-1957
        steel wheels with dog-dish caps @ 1955-1977""",
    "any": """72-spoke wire wheels @ 1955-1976 @ .02; painted steel wheels @ 1955-1984
        14" Cragar S/S wheels @ 1964-1979
        14" Minilite-style alloys @ 1963-1983; 15" factory alloys @ 1983-1996
        15" BBS mesh wheels @ 1983-1996 @ .03
        17" factory alloys @ 1993-2012; 18" five-spoke alloys @ 1999-2013
        15" white-spoke wheels @ 1971-1991
        steel wheels with bright hubcaps @ 1955-1984; Rallye wheels @ 1964-1979""",
}

# Equipment by kind of car; "open" and "closed" by body, "any" for all.
EQUIPMENT = {
    "any": """air conditioning ~ factory A/C ~ an A/C system @ 1968-2013 @ .03
        a period AM/FM radio ~ an AM/FM stereo @ 1964-1983; a CD player ~ a CD stereo @ 1988-2009
        a Bluetooth-enabled head unit ~ a Bluetooth retrofit stereo @ 1985-2013
        lap belts @ 1955-1967
        ventilated disc brakes @ 1984-2006; three-point belts @ 1968-1980
        a fire extinguisher @ 1955-2013""",
    "classic": """Koni dampers ~ Koni shocks @ 1955-1993 @ .01
        a Nardi wood-rim steering wheel ~ a Nardi wheel @ 1955-1989 @ .01
        driving lights @ 1955-1989; a Blaupunkt radio @ 1955-1989 @ .02
        front disc brakes @ 1962-1985
        an electronic ignition conversion ~ a Pertronix ignition @ 1955-1980""",
    "modern": """a limited-slip differential ~ an LSD ~ a locking differential @ 1981-2013 @ .05
        heated front seats @ 1985-2013; sport seats ~ bolstered bucket seats @ 1981-2013 @ .03
        power windows ~ electric windows @ 1983-2013; cruise control @ 1983-2013
        four-wheel ABS @ 1988-2013
        carbon-fiber interior trim @ 1995-2013 @ .02; Bilstein dampers ~ Bilsteins @ 1981-2013 @ .01
        xenon headlights ~ bi-xenon lamps @ 1999-2013""",
    "exotic": """fitted luggage ~ a matching luggage set @ 1969-2006 @ .03
        power windows @ 1967-2013
        a Tubi exhaust @ 1984-2006 @ .01; carbon-ceramic brakes ~ ceramic brakes @ 2003-2013 @ .05
        carbon-fiber racing buckets ~ carbon buckets @ 1998-2013 @ .07; four-wheel ABS @ 1990-2006
        an electric front-lift system ~ a nose lift @ 2006-2013 @ .03
        a tonneau-style parcel shelf @ 1967-1990""",
    "muscle": """a limited-slip rear end ~ a locking rear axle ~ a no-spin differential @ 1963-1993 @ .04
        bucket seats and a center console ~ buckets and a console @ 1963-1993 @ .01
        power steering @ 1963-1993 @ .01
        a ducted hood ~ a functional hood scoop @ 1968-1974 @ .03; redline tires @ 1964-1971
        a factory tachometer ~ a tach-and-gauge package @ 1963-1979 @ .02
        power front discs @ 1967-1993 @ .02""",
    "truck": """a tow hitch @ 1962-2011; rubber floor mats @ 1962-2011
        auxiliary lighting @ 1962-2011 @ .01
        power steering @ 1972-1990 @ .01; a bench seat ~ bench seating @ 1962-1980""",
    "SUV": """locking front hubs ~ Warn locking hubs @ 1962-1983
        a winch ~ a Warn winch @ 1962-2011 @ .01
        a roof rack @ 1962-2011 @ .01; a swing-out spare carrier ~ a rear-mounted spare @ 1962-1983
        skid plates @ 1966-2011""",
    "luxury": """burl walnut trim ~ walnut veneer @ 1975-2003
        power windows ~ electric windows @ 1965-2002
        a power antenna @ 1972-2002; power seats ~ six-way power seats @ 1966-2002
        power steering @ 1955-1990
        climate control ~ automatic climate control @ 1977-2002; cruise control @ 1976-2002""",
    "small": """rally lights ~ Cibie driving lights @ 1958-1993; fog lamps @ 1976-1997
        a rear defroster @ 1968-1997
        a Momo steering wheel ~ a three-spoke Momo wheel @ 1975-2001
        a strut-tower brace @ 1983-1997""",
    "open": """a removable hardtop ~ a factory hardtop ~ both tops @ 1955-2009 @ .06
        a newer cloth soft top ~ a recently replaced canvas top @ 1955-2013 @ .02
        a wind deflector @ 1990-2013; a tonneau cover @ 1955-2000""",
    "Ferrari": """Daytona-style seats ~ Daytona seats @ 1970-2006 @ .04
        a Schedoni tool case @ 1984-2006 @ .02""",
    "Mercedes-Benz": """a Becker Mexico radio ~ a Becker Europa radio @ 1956-1989 @ .03
        heated leather seats @ 1984-2011
        a first-aid kit @ 1972-2011""",
    "Porsche": """a rear wiper @ 1977-1998; a Sport Chrono-style clock @ 1989-2004
        Litronic headlamps @ 1997-2004
        full leather ~ a full-leather interior @ 1986-2004 @ .03""",
    "BMW": """an on-board computer ~ a check-control panel @ 1983-2006
        a Blaupunkt Bavaria radio @ 1968-1991 @ .01
        Harman Kardon audio @ 1995-2006""",
}

# Papers; the effect doubles for the rarest cars.
PAPERS = {
    "Porsche": """a copy of the Kardex ~ its Kardex @ 1960-1985 @ .08
        a Certificate of Authenticity ~ a CoA from Porsche @ 1960-2004 @ .04
        a Porsche Production Specification @ 1969-2004 @ .02""",
    "Mercedes-Benz": """the factory data card ~ a copy of its Datenkarte @ 1955-2002 @ .04
        a Becker radio card @ 1963-1995 @ .01""",
    "BMW": """a letter from BMW Classic ~ a BMW Classic build letter @ 1968-2003 @ .04""",
    "Ferrari": """Ferrari Classiche certification ~ a Classiche red book @ 1970-2003 @ .12
        a Massini report @ 1970-1999 @ .04
        the books and pouch ~ its factory books @ 1970-2006 @ .05""",
    "Ford": """a Marti Report ~ a Deluxe Marti Report @ 1967-1993 @ .06
        the original owner's Protect-A-Card @ 1964-1977 @ .02""",
    "Chevrolet": """the Protect-O-Plate ~ its original Protect-O-Plate @ 1965-1972 @ .06
        the tank sticker @ 1967-1982 @ .06
        the original window sticker ~ its Monroney @ 1963-1974 @ .03
        an NCRS shipping report @ 1963-1996 @ .03""",
    "Pontiac": """PHS documentation ~ a PHS packet @ 1964-1979 @ .06
        the build sheet @ 1964-1979 @ .04""",
    "Dodge": """the broadcast sheet ~ two broadcast sheets @ 1970-1974 @ .06
        a decoded fender tag @ 1970-1974 @ .03
        a Viper owner's kit @ 1996-2002 @ .01""",
    "Plymouth": """the broadcast sheet ~ its broadcast sheet @ 1970-1974 @ .06
        a Galen Govier report @ 1970-1974 @ .05""",
    "British": """a Heritage certificate ~ a BMIHT certificate @ 1955-1997 @ .04
        an ownership logbook @ 1955-1980 @ .01""",
    "Jaguar": """a Jaguar Daimler Heritage Trust certificate ~ a JDHT certificate @ 1961-1996 @ .04""",
    "any": """service records since new ~ a thick file of receipts ~ records dating back to delivery @ 1955-2013 @ .05
        a stamped service booklet ~ its stamped maintenance booklet @ 1955-2013 @ .01
        an owner's manual @ 1955-2013
        the original window sticker ~ its Monroney @ 1975-2013 @ .03; a spare key @ 1972-2013
        a tool kit and jack ~ the tool roll @ 1955-1999 @ .02; manufacturer's literature @ 1955-2013
        period photographs @ 1955-1975 @ .02; a car cover @ 1955-2013""",
}

FLAWS = {
    "manual": "weak synchros ~ a second-gear crunch @ 1955-1995 @ -.04; a slipping clutch @ 1955-2013 @ -.04",
    "any": """rust bubbles in the rear wheel arches ~ bubbling along the rear arches @ 1955-1993 @ -.08
        perforation in the floor pans ~ holes in the floors @ 1955-1985 @ -.14
        scale and surface corrosion underneath ~ surface rust on the underside @ 1955-2005 @ -.03
        filler in the rocker panels ~ a magnet that will not hold on the sills @ 1955-1985 @ -.10
        a cracked dash ~ splits in the dashboard top @ 1963-1999 @ -.02
        stone chips on the nose @ 1955-2013 @ -.01
        a leaking rear main seal ~ weeping from the rear main @ 1955-2000 @ -.03
        a torn driver's seat bolster @ 1963-2008 @ -.02
        an inoperative clock @ 1955-1995
        blue smoke on startup @ 1955-2006 @ -.07; a dent in the left front fender @ 1955-2013 @ -.02
        a delaminating windshield @ 1955-1999 @ -.01
        overspray in the engine bay ~ tape lines in the door jambs @ 1955-1999 @ -.03
        a sun-faded carpet @ 1975-1996 @ -.01
        a check-engine light ~ an illuminated CEL @ 1996-2013 @ -.06
        peeling clear coat on the hood @ 1984-2006 @ -.04
        curb rash on two wheels @ 1984-2013 @ -.01
        an inoperative air-conditioning compressor ~ A/C that does not blow cold @ 1984-2013 @ -.03
        tires dating to 2009 ~ aged tires @ 1955-2008 @ -.01
        sticky interior buttons @ 1995-2013 @ -.02""",
}

# Alterations by kind, from mild to wild; what they do to the price is the model's ``mods``.
MILD = {
    "classic": """Weber carburetors and a sport muffler ~ a pair of Webers and a free-flowing exhaust @ 1955-1989
        lowered springs and adjustable dampers ~ stiffer springs and uprated shocks @ 1955-1993""",
    "modern": """coilovers and a cat-back exhaust ~ a coilover suspension and freer-flowing exhaust @ 1981-2013
        lowering springs and a strut brace ~ H&R springs and a strut brace @ 1981-2013
        a cold-air intake and a retuned ECU ~ a chip tune and intake @ 1984-2013""",
    "exotic": """an aftermarket exhaust and freer-flowing headers ~ a straight-through exhaust @ 1967-2013
        lowered suspension and wheel spacers ~ lowering springs with spacers @ 1967-2013""",
    "muscle": """headers and an Edelbrock intake ~ long-tube headers and an aluminum intake manifold @ 1963-1993
        a Holley EFI conversion ~ Holley Sniper fuel injection @ 1963-1980
        bigger brakes and a lowered stance ~ a big-brake kit and lowered springs @ 1963-1993""",
    "truck": """a mild lift and 33-inch tires ~ a 2.5-inch lift on 33s @ 1962-2011
        fuel injection and upgraded front brakes ~ an EFI conversion with front discs @ 1962-1980""",
    "luxury": """lowered springs and aftermarket wheels ~ lowering springs on bigger wheels @ 1955-2003
        a stainless exhaust and smoked lenses ~ clear lenses and a freer exhaust @ 1972-2003""",
    "small": """coilovers and a header ~ a coilover kit and tubular header @ 1968-2001
        a roll hoop and bucket seats ~ a bolt-in roll bar and fixed-back buckets @ 1958-2001
        a sport cam and lowered springs ~ a hotter cam and stiff springs @ 1958-2001""",
}
WILD = {
    "classic": """flared fenders and a stroked engine ~ widened arches and a bored-out engine @ 1955-1993
        a full cage, fuel cell and stripped cabin ~ a vintage-race build with a welded cage @ 1955-1993""",
    "modern": """a big-turbo build and roll cage ~ an oversized turbocharger on standalone management @ 1981-2013
        a widebody kit and air suspension ~ riveted overfenders and air bags @ 1981-2013""",
    "exotic": """a widebody kit and a towering wing ~ wide bodywork with an aftermarket wing @ 1967-2013
        a full vinyl wrap and air suspension ~ a chrome wrap over air bags @ 1967-2013""",
    "muscle": """a blower and a Pro Touring chassis ~ a supercharger on a Pro Touring chassis @ 1963-1993
        tubbed rear wheel wells and narrowed axles ~ a back-half tub job and a ladder-bar rear @ 1963-1993""",
    "truck": """a supercharger and long-travel suspension ~ a blown engine on long-travel coilovers @ 1962-2011
        one-ton axles and cut fenders ~ bobbed fenders over one-ton axles @ 1962-2011""",
    "luxury": """air suspension and a suede-lined cabin ~ air bags and a custom suede interior @ 1955-2003
        widened arches and a lowered roof ~ flared arches and a chopped roofline @ 1955-2003""",
    "small": """a turbo kit and caged interior ~ an aftermarket turbocharger and half cage @ 1958-2001
        a high-compression build and overfenders ~ a bored-out engine and bolt-on flares @ 1958-2001""",
}

# Condition from worst to best: whole sentences, as sellers write them.
CONDITION = (
    wordings("""{it} is a barn find that will need everything
        ~ {it} does not currently run and is offered as a project
        ~ Pulled from long-term storage, {it} is a restoration candidate
        ~ {it} has been parked since 2009 and is not roadworthy
        ~ The seller describes {it} as a non-running project
        ~ {it} will require recommissioning from end to end"""),
    wordings("""{it} is an honest ten-footer ~ {it} shows its age inside and out
        ~ Cosmetically, {it} is very much a driver
        ~ {it} runs and drives but is rough around the edges
        ~ Presentation is that of a well-used driver
        ~ The paint and cabin are tired, though {it} is usable"""),
    wordings("""{it} is a tidy driver ~ {it} is solid, sorted and regularly exercised
        ~ Wear is in line with age
        ~ {it} is clean throughout with the patina one would expect
        ~ The seller calls {it} a strong driver-quality example
        ~ {it} presents nicely without being too good to use"""),
    wordings("""{it} shows beautifully ~ {it} is highly presentable throughout
        ~ Paint, brightwork and cabin are all very sharp
        ~ {it} has been kept garaged and detailed ~ Few flaws are evident anywhere
        ~ {it} presents well above average"""),
    wordings("""{it} is concours-quality and has been judged accordingly
        ~ {it} took first in class at a marque concours
        ~ {it} scored 98.4 points in judging ~ {it} is a no-excuses trailer queen
        ~ {it} is a trophy-winning garage queen
        ~ {it} is arguably as good as they come, with show awards to match"""),
)

OPENINGS = wordings("""
        This {year} {full} is finished in {colour} over {inside} and is powered by {engine} mated to {box}
    ~ Finished in {colour} with {inside}, this {year} {full} is {a_code} example with {engine} and {box}
    ~ Offered here is a {year} {full}, {a_code} car wearing {colour} over {inside}, with {engine} and {box}
    ~ {colour} over {inside}: this {code} {full} was built for {year} and pairs {engine} with {box}
    ~ A {year} {full} in {colour} with {inside}, this {code} car sends the output of {engine} through {box}
    ~ This {code} {full} dates from {year}, wears {colour} and is trimmed in {inside}. {engine} drives through {box}
    ~ One of the {when} {code} cars, this {full} is finished in {colour} over {inside}, and {box} backs {engine}
    ~ {box} and {engine} feature on this {when} {code} {full}, which is {colour} with {inside}""")
WHEEL_LINES = wordings("""{it} rides on {wheels} ~ {wheels} are fitted at all four corners
        ~ {wheels} complete the look
    ~ {it} sits on {wheels} ~ A set of {wheels} is mounted""")
EQUIPMENT_LINES = wordings("""Equipment includes {items} ~ Features include {items}
        ~ {it} is equipped with {items}
    ~ Among the features are {items} ~ Highlights include {items}
        ~ {it} comes with {items} ~ Appointments include {items}""")
MILD_LINES = wordings("""Modifications are limited to {items}
        ~ {it} has been lightly modified with {items} ~ Period-style upgrades include {items}
    ~ Tasteful changes include {items} ~ Previous work included the fitment of {items}""")
WILD_LINES = wordings("""{it} has been extensively modified with {items}
        ~ A ground-up custom build brought {items}
    ~ {it} is far from stock, with {items} ~ A heavy build included {items}""")
STOCK_LINES = wordings(
    """{it} is said to be unmodified ~ {it} remains bone stock ~ No modifications are noted
        ~ {it} is largely stock"""
)
MATCHING_LINES = wordings("""The engine is numbers-matching
        ~ {it} retains its factory-installed drivetrain
        ~ Matching numbers are confirmed by the stampings
    ~ {it} is still powered by its birth engine ~ The block carries the original stamping
        ~ Engine and gearbox are both original to {it}""")
REPLACED_LINES = wordings("""The engine is a later replacement ~ {it} is not matching-numbers
        ~ The block is a date-coded replacement, not the original
    ~ A service-replacement engine was installed years ago
        ~ The stampings indicate a non-original engine ~ {it} is NOM""")
ORIGINAL_PAINT_LINES = wordings("""{it} is said to wear its original paint
        ~ Paint-meter readings suggest factory finish throughout
    ~ {it} is an unrestored survivor in first paint
        ~ The finish is believed to be what the factory sprayed""")
REPAINT_LINES = wordings("""{it} has been repainted in {colour}
        ~ A respray in {colour} was carried out under prior ownership
    ~ The paint is not original ~ {it} was refinished some years ago
        ~ A color change to {colour} took place at some point""")
RESTORED_LINES = wordings("""A rotisserie restoration was completed in {recent}
        ~ {it} was the subject of a nut-and-bolt rebuild finished in {recent}
    ~ {it} has covered few miles since a full restoration in {recent}
        ~ A bare-metal refurbishment concluded in {recent}""")
OLD_RESTORATION_LINES = wordings(
    """{it} wears an older restoration ~ A refurbishment was carried out in the 1990s
        ~ {it} was cosmetically restored decades ago"""
)
TRIBUTE_LINES = wordings("""{it} is a tribute rather than a factory car
        ~ The seller notes that {it} left the factory as a lesser trim
    ~ The VIN does not support the badges, and {it} should be considered a clone
        ~ {it} is a re-creation of the top specification""")
MILEAGE_LINES = wordings("""The odometer shows {miles} ~ {it} has covered {miles} from new
        ~ {miles} are indicated ~ {it} now has {miles}
    ~ The seller has added some of the {miles} on the clock ~ Indicated distance is {miles}
        ~ {it} shows {miles}, which the seller believes to be accurate""")
TMU_LINES = wordings("""The five-digit odometer shows {miles}, though true mileage is unknown
        ~ {miles} are shown, TMU
    ~ The replacement odometer reads {miles}, and the total is unknown
        ~ Indicated distance is {miles}, but the title is marked exempt and TMU""")
OWNER_LINES = {
    1: wordings("""{it} is a one-owner example ~ {it} is offered by its original owner
        ~ {it} has remained with the buying family since new
        ~ The seller took delivery of {it} new in {place}"""),
    2: wordings(
        """{it} has had two owners from new ~ The selling owner is its second
        ~ The seller acquired {it} from the original owner in {recent}"""
    ),
    3: wordings("""{it} was acquired by the current owner in {recent}
        ~ The seller purchased {it} in {recent} from {place}
        ~ {it} spent time in {place} before the current owner's {recent} purchase
        ~ {it} has been registered in {place}"""),
    5: wordings(
        """{it} has passed through many hands ~ The history report lists seven owners
        ~ {it} was flipped twice since {recent}"""
    ),
}
DONE_LINES = wordings("""The {job} was completed in {recent} ~ Recent work included {job}
        ~ In preparation for the sale, {job} was performed
    ~ Within the past year, {it} received {job} ~ {job} took place {ago} ago
        ~ A specialist in {place} carried out {job} in {recent}""")
DUE_LINES = wordings(
    """There is no record of {job} ~ The {job} is due ~ The next owner should budget for {job}
        ~ {job} has not been documented"""
)
ROUTINE_LINES = wordings("""Fluids were changed in {recent}
        ~ Service in {recent} included new brake pads and fluids
        ~ The battery was replaced in {recent}
    ~ An oil change and inspection were performed {ago} ago
        ~ New tires were mounted in {recent} ~ The brakes were overhauled in {recent}""")
IMPORT_LINES = wordings("""{it} was imported from Japan in {imported} under the 25-year rule
        ~ {it} is a right-hand-drive, JDM car that came to the US in {imported}
    ~ First sold in Japan, {it} was brought over in {imported}""")
CLOSING = wordings("""{it} is offered with {items} as well as {title}
        ~ The sale includes {items} as well as {title}
        ~ {it} is now offered with {title}, plus {items}
    ~ Accompanied by {items}, {it} carries {title} ~ {it} comes with {items}, not to mention {title}""")
TITLES = {
    "clean": wordings("""a clean {state} title ~ a clean {state} title in the seller's name
        ~ {a_state} title free of brands
        ~ a clear {state} title ~ {a_state} title held by the selling dealer"""),
    "history": wordings(
        """a clean Carfax and {a_state} title
        ~ an accident-free Carfax report and a clean {state} title"""
    ),
    "accident": wordings("""{a_state} title and a Carfax report listing prior damage
        ~ a clean {state} title, though the Carfax shows an accident
        ~ a history report noting a rear-end collision and {a_state} title"""),
    "rebuilt": wordings(
        """a rebuilt {state} title ~ a branded {state} title ~ {a_state} salvage title
        ~ a reconstructed-brand {state} title"""
    ),
    "none": wordings(
        """a bill of sale only ~ a bill of sale and no title
        ~ a transferable {state} registration in lieu of a title"""
    ),
}
FLAW_LINES = wordings("""Flaws include {items} ~ Noted flaws include {items}
        ~ The seller discloses {items} ~ Imperfections include {items}
    ~ Known issues: {items} ~ The gallery shows {items}""")
FILLERS = wordings("""A cold start and drive are shown in the video gallery
        ~ Additional photos of the underside appear below
    ~ The seller reports that {it} is driven regularly on weekends
        ~ {it} has been kept indoors in {place}
    ~ {it} was most recently serviced at an independent shop in {place}
        ~ The exterior has been waxed before photography""")
BARE_CLOSING = wordings(
    """{it} is offered with {title} ~ {it} carries {title} ~ The sale includes {title}
        ~ {it} comes with {title}"""
)
SERVICE_LINES = {"done": DONE_LINES, "due": DUE_LINES, "": ROUTINE_LINES}
ENGINE_LINES = {"matching": MATCHING_LINES, "replaced": REPLACED_LINES}
FINISH_LINES = {
    "original": ORIGINAL_PAINT_LINES,
    "repaint": REPAINT_LINES,
    "restored": RESTORED_LINES,
    "old": OLD_RESTORATION_LINES,
}
STATES = """Oregon ~ California ~ Ohio ~ Texas ~ Florida ~ New York ~ Colorado ~ Illinois
        ~ Washington ~ Vermont
    ~ Arizona ~ Michigan ~ Georgia ~ Pennsylvania ~ Minnesota ~ North Carolina ~ Massachusetts
        ~ Nevada ~ Virginia ~ Utah"""

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen""".split()  # noqa: SIM905
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
